//! What a node says it has. Kubelet reads the machine from `/proc` and `/sys` (cadvisor's `machine` and `sysinfo`
//! packages); a node of the topology's size is made by laying other files over those.

use std::fmt::Write;
use std::str::FromStr;

/// Cores and memory of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Cores; the machine's own when not said.
    pub cpu: Option<u32>,
    /// Bytes of memory; the machine's own when not said.
    pub memory: Option<u64>,
}

impl FromStr for Capacity {
    type Err = String;

    /// `cpu=16,memory=32Gi`, either part alone too.
    fn from_str(s: &str) -> Result<Self, String> {
        let mut made = Self {
            cpu: None,
            memory: None,
        };
        for part in s.split(',') {
            match part.split_once('=') {
                Some(("cpu", n)) => {
                    let cpu = n.parse().ok().filter(|n| (1..=4096).contains(n));
                    made.cpu = Some(cpu.ok_or_else(|| format!("cpu `{n}`: expected whole cores from 1 to 4096"))?);
                }
                Some(("memory", n)) => {
                    made.memory = Some(bytes(n).ok_or_else(|| format!("memory `{n}`: expected such as 32Gi"))?);
                }
                _ => {
                    return Err(format!(
                        "`{part}`: expected cpu=CORES or memory=BYTES, such as cpu=16,memory=32Gi"
                    ));
                }
            }
        }
        Ok(made)
    }
}

/// A quantity of bytes in Kubernetes' notation, whole numbers only.
fn bytes(s: &str) -> Option<u64> {
    let end = s.find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len());
    let number: u64 = s[..end].parse().ok()?;
    let scale: u64 = match &s[end..] {
        "" => 1,
        "k" => 1000,
        "M" => 1000u64.pow(2),
        "G" => 1000u64.pow(3),
        "T" => 1000u64.pow(4),
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(scale).filter(|n| *n > 0)
}

/// A `/proc/meminfo` of `total` bytes: the machine's own, with what it says of totals in proportion.
#[must_use]
pub fn meminfo(own: &str, total: u64) -> String {
    let value = |line: &str| line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
    let own_total = own
        .lines()
        .find(|l| l.starts_with("MemTotal:"))
        .and_then(value)
        .unwrap_or(1)
        .max(1);
    let wanted = total / 1024;
    let mut text = String::new();
    for line in own.lines() {
        let name = line.split(':').next().unwrap_or_default();
        let scaled = match (name, value(line)) {
            ("MemTotal", _) => Some(wanted),
            // What is free: of the machine, which is what there really is, but no more than there is said to be.
            ("MemFree" | "MemAvailable", Some(free)) => {
                Some((u128::from(free) * u128::from(wanted) / u128::from(own_total)) as u64)
            }
            _ => None,
        };
        match scaled {
            Some(kib) => {
                let _ = writeln!(text, "{:<15} {kib:>8} kB", format!("{name}:"));
            }
            None => {
                let _ = writeln!(text, "{line}");
            }
        }
    }
    text
}

/// A `/proc/cpuinfo` of `cores` processors like the machine's first, one core each.
#[must_use]
pub fn cpuinfo(own: &str, cores: u32) -> String {
    let first: Vec<&str> = own.lines().take_while(|l| !l.trim().is_empty()).collect();
    let mut text = String::new();
    for core in 0..cores {
        for line in &first {
            let name = line.split(':').next().unwrap_or_default().trim_end();
            let value = match name {
                "processor" | "core id" | "apicid" | "initial apicid" => core.to_string(),
                "siblings" | "cpu cores" => cores.to_string(),
                "physical id" => "0".to_owned(),
                _ => {
                    let _ = writeln!(text, "{line}");
                    continue;
                }
            };
            let _ = writeln!(text, "{name}\t: {value}");
        }
        text.push('\n');
    }
    text
}

/// The files of a `/sys/devices/system/cpu` of `cores` processors, by path below it. Kubelet counts the directories;
/// only those that are really there (`online`, a list such as `0-1`) it gives to pods by their numbers.
#[must_use]
pub fn cpu_files(cores: u32, online: &str) -> Vec<(String, String)> {
    let really: Vec<u32> = numbers(online).into_iter().filter(|n| *n < cores).collect();
    let listed: Vec<String> = really.iter().map(u32::to_string).collect();
    let all = if cores == 1 {
        "0\n".to_owned()
    } else {
        format!("0-{}\n", cores - 1)
    };
    let mut files = vec![
        ("online".to_owned(), format!("{}\n", listed.join(","))),
        ("possible".to_owned(), all.clone()),
        ("present".to_owned(), all),
    ];
    for core in 0..cores {
        let of = |file: &str, text: String| (format!("cpu{core}/{file}"), text);
        files.push(of("topology/core_id", format!("{core}\n")));
        files.push(of("topology/physical_package_id", "0\n".to_owned()));
        files.push(of("topology/thread_siblings_list", format!("{core}\n")));
    }
    files
}

/// The numbers of a kernel's list such as `0-1,4`.
fn numbers(list: &str) -> Vec<u32> {
    list.trim()
        .split(',')
        .filter_map(|part| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            Some(from.parse::<u32>().ok()?..=to.parse::<u32>().ok()?)
        })
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses() {
        let of = |cpu, memory| Ok(Capacity { cpu, memory });
        let table = [
            ("cpu=16,memory=32Gi", of(Some(16), Some(32 << 30))),
            ("cpu=1", of(Some(1), None)),
            ("memory=512M", of(None, Some(512_000_000))),
            ("memory=1048576", of(None, Some(1 << 20))),
            ("cpu=0", Err("cpu `0`: expected whole cores from 1 to 4096".to_owned())),
            (
                "cpu=1.5",
                Err("cpu `1.5`: expected whole cores from 1 to 4096".to_owned()),
            ),
            ("memory=1X", Err("memory `1X`: expected such as 32Gi".to_owned())),
            (
                "disk=1",
                Err("`disk=1`: expected cpu=CORES or memory=BYTES, such as cpu=16,memory=32Gi".to_owned()),
            ),
        ];
        for (text, want) in table {
            assert_eq!(text.parse::<Capacity>(), want, "{text}");
        }
    }

    #[test]
    fn files_say_what_the_topology_says() {
        let own = "MemTotal:       24678436 kB\nMemFree:        12339218 kB\nMemAvailable:   12339218 kB\nBuffers:               1 kB\nSwapTotal:             0 kB\n";
        insta::assert_snapshot!(meminfo(own, 2 << 30), @r"
        MemTotal:        2097152 kB
        MemFree:         1048576 kB
        MemAvailable:    1048576 kB
        Buffers:               1 kB
        SwapTotal:             0 kB
        ");
        let own = "processor\t: 0\nvendor_id\t: V\ncpu MHz\t\t: 2000.000\nphysical id\t: 1\nsiblings\t: 2\ncore id\t\t: 0\ncpu cores\t: 2\n\nprocessor\t: 1\n";
        insta::assert_snapshot!(cpuinfo(own, 2), @r"
        processor	: 0
        vendor_id	: V
        cpu MHz		: 2000.000
        physical id	: 0
        siblings	: 2
        core id	: 0
        cpu cores	: 2

        processor	: 1
        vendor_id	: V
        cpu MHz		: 2000.000
        physical id	: 0
        siblings	: 2
        core id	: 1
        cpu cores	: 2
        ");
        for (cores, online, want) in [(3, "0-1", "0,1\n"), (1, "0-1", "0\n"), (16, "0,2-3\n", "0,2,3\n")] {
            assert_eq!(cpu_files(cores, online)[0], ("online".to_owned(), want.to_owned()));
        }
        let files = cpu_files(3, "0-1");
        assert_eq!(files.len(), 3 + 3 * 3);
        assert!(files.contains(&("cpu2/topology/core_id".to_owned(), "2\n".to_owned())));
    }
}
