//! The map of a topology: sites as boxes, links as lines with their latency.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::text::{coordinate as c, escape, fit};
use crate::evidence::{Map, Site};

const BOX: f64 = 184.0;
const GAP: f64 = 112.0;
const ROW_GAP: f64 = 84.0;
const MARGIN: f64 = 24.0;
/// Nodes written by name in one cluster; the rest is counted.
const NODES: usize = 4;
/// Sites in one row.
const ROW: usize = 4;
/// More links than this are only in the table: labels would cover each other.
const LABELS: usize = 24;

struct Placed {
    x: f64,
    y: f64,
    h: f64,
}

impl Placed {
    fn center(&self) -> (f64, f64) {
        (self.x + BOX / 2.0, self.y + self.h / 2.0)
    }
}

/// The map as SVG.
pub fn render(map: &Map) -> String {
    let (placed, width, height) = place(map);
    let mut out = format!(
        "<svg class=\"map\" viewBox=\"0 0 {} {}\" style=\"max-width:{}px;min-width:{}px\" role=\"img\" aria-label=\"Sites and links of {}\">\n",
        c(width),
        c(height),
        c(width),
        c(width.min(600.0)),
        escape(&map.name)
    );
    let mut labels = String::new();
    for (index, link) in map.links.iter().enumerate() {
        let (Some(from), Some(to)) = (placed.get(link.from.as_str()), placed.get(link.to.as_str())) else {
            continue;
        };
        let (path, (x, y)) = route(from, to, index, &placed);
        let title = format!("{} – {}: {} {}", link.from, link.to, link.latency, link.detail);
        let _ = writeln!(
            out,
            "<path class=\"link\" d=\"{path}\"><title>{}</title></path>",
            escape(title.trim())
        );
        if map.links.len() <= LABELS {
            label(&mut labels, x, y, &link.latency);
        }
    }
    for site in &map.sites {
        if let Some(at) = placed.get(site.name.as_str()) {
            draw(&mut out, site, at);
        }
    }
    out.push_str(&labels);
    out.push_str("</svg>\n");
    out
}

fn height(site: &Site) -> f64 {
    let clusters: f64 = site
        .clusters
        .iter()
        .map(|cluster| 20.0 + 15.0 * (cluster.nodes.len().min(NODES) + usize::from(cluster.nodes.len() > NODES)) as f64)
        .sum();
    (34.0 + clusters + 6.0 * site.clusters.len().saturating_sub(1) as f64 + 6.0).max(46.0)
}

/// Rows by level (center, cloud, core, edge, radio and terminal, client, then the rest), each at most [`ROW`] wide. Without levels: up to three
/// sites stand in one row, more on a ring.
fn place(map: &Map) -> (BTreeMap<&str, Placed>, f64, f64) {
    let rank = |site: &Site| match site.level.as_str() {
        "center" | "centre" => 0,
        "cloud" => 1,
        "core" => 2,
        "edge" => 3,
        "radio" | "terminal" => 4,
        "client" => 5,
        _ => 6,
    };
    let mut levels: BTreeMap<u8, Vec<&Site>> = BTreeMap::new();
    for site in &map.sites {
        levels.entry(rank(site)).or_default().push(site);
    }
    if levels.len() == 1 && map.sites.len() > 3 && map.sites.len() <= 10 {
        return ring(map);
    }
    let rows: Vec<&[&Site]> = levels.values().flat_map(|sites| sites.chunks(ROW)).collect();
    let wide = |n: usize| n as f64 * BOX + n.saturating_sub(1) as f64 * GAP;
    let width = rows.iter().map(|row| wide(row.len())).fold(BOX, f64::max) + 2.0 * MARGIN;
    let mut placed = BTreeMap::new();
    let mut y = MARGIN;
    for row in rows {
        let tall = row.iter().map(|site| height(site)).fold(0.0, f64::max);
        let mut x = (width - wide(row.len())) / 2.0;
        for site in row {
            let h = height(site);
            placed.insert(
                site.name.as_str(),
                Placed {
                    x,
                    y: y + (tall - h) / 2.0,
                    h,
                },
            );
            x += BOX + GAP;
        }
        y += tall + ROW_GAP;
    }
    // A bend under the last row needs room.
    (
        placed,
        width,
        y - ROW_GAP + MARGIN + if map.sites.len() > 2 { 40.0 } else { 0.0 },
    )
}

fn ring(map: &Map) -> (BTreeMap<&str, Placed>, f64, f64) {
    let n = map.sites.len() as f64;
    let tall = map.sites.iter().map(height).fold(0.0, f64::max);
    let (rx, ry) = ((n * 62.0).max(300.0), (n * 24.0).max(tall * 1.1 + 30.0));
    let (width, height_all) = (2.0 * rx + BOX + 2.0 * MARGIN, 2.0 * ry + tall + 2.0 * MARGIN);
    let mut placed = BTreeMap::new();
    for (index, site) in map.sites.iter().enumerate() {
        let angle = std::f64::consts::TAU * index as f64 / n - std::f64::consts::FRAC_PI_2;
        let h = height(site);
        let (x, y) = (
            width / 2.0 + rx * angle.cos() - BOX / 2.0,
            height_all / 2.0 + ry * angle.sin() - h / 2.0,
        );
        placed.insert(site.name.as_str(), Placed { x, y, h });
    }
    (placed, width, height_all)
}

/// The path of a link and the place of its label. Neighbours get a straight line, the ends of a row a bend below it.
fn route(from: &Placed, to: &Placed, index: usize, all: &BTreeMap<&str, Placed>) -> (String, (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from.center(), to.center());
    if bends(from, to, all) {
        let low = from.y.max(to.y) + from.h.max(to.h);
        let bend = low + 52.0;
        let path = format!(
            "M{} {} Q{} {} {} {}",
            c(x1),
            c(y1),
            c((x1 + x2) / 2.0),
            c(2.0 * bend - y1 - 10.0),
            c(x2),
            c(y2)
        );
        return (path, ((x1 + x2) / 2.0, bend - 5.0));
    }
    // The visible part of the line lies between the boxes' edges; labels of crossing lines are kept apart.
    let (a, b) = (leave(from, x2, y2), leave(to, x1, y1));
    let share = if (x1 - x2).abs() > 1.0 && (y1 - y2).abs() > 1.0 {
        [0.42, 0.58, 0.5][index % 3]
    } else {
        0.5
    };
    let at = (a.0 + (b.0 - a.0) * share, a.1 + (b.1 - a.1) * share);
    (format!("M{} {} L{} {}", c(x1), c(y1), c(x2), c(y2)), at)
}

/// Whether another site stands between two of one row.
fn bends(from: &Placed, to: &Placed, all: &BTreeMap<&str, Placed>) -> bool {
    let ((x1, y1), (x2, y2)) = (from.center(), to.center());
    (y1 - y2).abs() < 1.0
        && all.values().any(|other| {
            let (x, y) = other.center();
            (y - y1).abs() < 1.0 && (x - x1) * (x - x2) < -1.0
        })
}

/// Where the line from the box's center towards a point leaves the box.
fn leave(from: &Placed, x: f64, y: f64) -> (f64, f64) {
    let (cx, cy) = from.center();
    let (dx, dy) = (x - cx, y - cy);
    let scale = |half: f64, d: f64| if d.abs() < 1e-9 { f64::INFINITY } else { half / d.abs() };
    let t = scale(BOX / 2.0, dx).min(scale(from.h / 2.0, dy)).min(1.0);
    (cx + dx * t, cy + dy * t)
}

fn label(out: &mut String, x: f64, y: f64, text: &str) {
    let text = fit(text, GAP - 14.0, 12.0);
    let half = text.chars().count() as f64 * 3.3 + 7.0;
    let _ = writeln!(
        out,
        "<rect class=\"tag\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"20\" rx=\"10\"/><text class=\"tag\" x=\"{}\" y=\"{}\">{}</text>",
        c(x - half),
        c(y - 10.0),
        c(2.0 * half),
        c(x),
        c(y + 4.2),
        escape(&text)
    );
}

fn draw(out: &mut String, site: &Site, at: &Placed) {
    let level = if site.level.is_empty() {
        "site"
    } else {
        site.level.as_str()
    };
    let _ = writeln!(
        out,
        "<g><title>{} ({})</title><rect class=\"site\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"10\"/>",
        escape(&site.name),
        escape(level),
        c(at.x),
        c(at.y),
        c(BOX),
        c(at.h)
    );
    let mut y = at.y + 22.0;
    let _ = writeln!(
        out,
        "<text class=\"name\" x=\"{}\" y=\"{}\">{}</text><text class=\"level\" x=\"{}\" y=\"{}\">{}</text>",
        c(at.x + 12.0),
        c(y),
        escape(&fit(&site.name, BOX - 78.0, 13.0)),
        c(at.x + BOX - 12.0),
        c(y),
        escape(&fit(level, 58.0, 10.0))
    );
    y += 12.0;
    for cluster in &site.clusters {
        let count = cluster.nodes.len();
        let lines = count.min(NODES) + usize::from(count > NODES);
        let h = 20.0 + 15.0 * lines as f64;
        let class = if cluster.role == "hub" { "hub" } else { "member" };
        let _ = writeln!(
            out,
            "<rect class=\"cluster {class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"5\"/><text class=\"cluster\" x=\"{}\" y=\"{}\">{}</text>",
            c(at.x + 8.0),
            c(y - 2.0),
            c(BOX - 16.0),
            c(h),
            c(at.x + 15.0),
            c(y + 12.5),
            escape(&fit(&cluster.name, 100.0, 12.0))
        );
        if !cluster.role.is_empty() {
            let _ = writeln!(
                out,
                "<text class=\"level\" x=\"{}\" y=\"{}\">{}</text>",
                c(at.x + BOX - 15.0),
                c(y + 12.5),
                escape(&fit(&cluster.role, 50.0, 10.0))
            );
        }
        let mut line = y + 27.5;
        for node in cluster.nodes.iter().take(NODES) {
            let _ = writeln!(
                out,
                "<circle class=\"node\" cx=\"{}\" cy=\"{}\" r=\"2.5\"/><text class=\"node\" x=\"{}\" y=\"{}\">{}</text>",
                c(at.x + 18.5),
                c(line - 3.5),
                c(at.x + 26.0),
                c(line),
                escape(&fit(node, BOX - 46.0, 11.0))
            );
            line += 15.0;
        }
        if count > NODES {
            let _ = writeln!(
                out,
                "<text class=\"node\" x=\"{}\" y=\"{}\">and {} more nodes</text>",
                c(at.x + 26.0),
                c(line),
                count - NODES
            );
        }
        y += h + 6.0;
    }
    out.push_str("</g>\n");
}
