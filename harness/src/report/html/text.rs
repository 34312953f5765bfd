//! Text in HTML: escaping and numbers.

pub use super::super::summary::duration;

/// The text with everything that means something to HTML or XML escaped, and control characters (which neither may
/// hold) replaced.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A number with at most three decimals and no trailing zeros.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "n/a".to_owned();
    }
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// A coordinate: one decimal, always.
pub fn coordinate(value: f64) -> String {
    let text = format!("{value:.1}");
    if text == "-0.0" { "0.0".to_owned() } else { text }
}

/// A whole number with a space between groups of three digits.
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A value with its unit, milliseconds in the size that fits.
pub fn quantity(value: f64, unit: &str) -> String {
    match unit {
        "ms" if value.is_finite() && value.abs() >= 1000.0 => duration(value),
        "" => number(value),
        unit => format!("{} {unit}", number(value)),
    }
}

/// The text cut to about `width` pixels at `size` pixels of font size, with an ellipsis.
pub fn fit(text: &str, width: f64, size: f64) -> String {
    // A system font's average advance is a little over half its size.
    let most = ((width / (size * 0.56)).floor().max(1.0)) as usize;
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// Round steps of an axis from 0 to `max`: at most `most` of them, from 1, 2, 5 times a power of ten.
pub fn ticks(max: f64, most: u32) -> Vec<f64> {
    if !(max.is_finite() && max > 0.0) {
        return vec![0.0];
    }
    let rough = max / f64::from(most.max(1));
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|m| m * power)
        .find(|s| *s >= rough)
        .unwrap_or(10.0 * power);
    let count = (max / step + 1e-9).floor() as u32;
    (0..=count).map(|i| f64::from(i) * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        assert_eq!(
            escape("<a href=\"x\">'&\u{1}"),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;\u{fffd}"
        );
        assert_eq!(number(19.400000000000002), "19.4");
        assert_eq!(number(-0.0001), "0");
        assert_eq!(number(f64::NAN), "n/a");
        assert_eq!(grouped(30_000), "30\u{202f}000");
        assert_eq!(quantity(650_000.0, "ms"), "10 min 50 s");
        assert_eq!(fit("a very long name of a node", 60.0, 10.0), "a very lo…");
        assert_eq!(ticks(10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(0.0, 5), [0.0]);
    }
}
