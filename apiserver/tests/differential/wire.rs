//! Answers in protobuf as trees that can be compared and masked: fields with their numbers, read by the wire format alone,
//! so that nothing of what the server knows of its messages is believed.

use serde_json::{Value, json};

/// The tree of an answer in protobuf; events of watches one after the other.
pub fn tree(kind: &str, mut bytes: &[u8], ns: &str) -> Value {
    if !kind.ends_with(";stream=watch") {
        return value(bytes, ns);
    }
    let mut events = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((event, rest)) = rest.split_at_checked(length) else {
            events.push(json!("a frame is cut off"));
            break;
        };
        events.push(fields(event, ns).map_or(Value::Null, Value::Array));
        bytes = rest;
    }
    Value::Array(events)
}

/// Text where it reads as such, else a message, else what it is in hexadecimal digits.
fn value(bytes: &[u8], ns: &str) -> Value {
    if let Some(object) = bytes.strip_prefix(b"k8s\0") {
        return json!({"k8s": fields(object, ns)});
    }
    let text = std::str::from_utf8(bytes).ok();
    if let Some(text) = text.filter(|t| t.chars().all(|c| c == '\n' || !c.is_control())) {
        return json!(text.replace(ns, "{ns}"));
    }
    match fields(bytes, ns) {
        Some(fields) => Value::Array(fields),
        None => json!(bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    }
}

fn fields(mut b: &[u8], ns: &str) -> Option<Vec<Value>> {
    let mut all = Vec::new();
    while !b.is_empty() {
        let tag = varint(&mut b)?;
        let number = tag >> 3;
        let one = match tag & 7 {
            0 => integer(varint(&mut b)?),
            1 => json!(u64::from_le_bytes(*take(&mut b, 8)?.first_chunk()?)),
            2 => {
                let length = usize::try_from(varint(&mut b)?).ok()?;
                value(take(&mut b, length)?, ns)
            }
            _ => return None,
        };
        // Versions of objects and lists: numbers in text.
        let version = |t: &str| !t.is_empty() && t.len() < 8 && t.bytes().all(|b| b.is_ascii_digit());
        match one.as_str() {
            Some(t) if matches!(number, 2 | 6) && version(t) => all.push(json!([number, "N"])),
            // `storageVersionHash`.
            Some(t) if number == 10 && t.len() == 12 && t.ends_with('=') => all.push(json!([number, "HASH"])),
            Some(t) if t.starts_with("eyJ") => all.push(json!([number, "TOKEN"])),
            _ if number == 0 => return None,
            _ => all.push(json!([number, one])),
        }
    }
    Some(all)
}

/// A number, unless it is a time of today or a port that was given out.
fn integer(n: u64) -> Value {
    match n {
        1_700_000_000..2_500_000_000 => json!("TIME"),
        30_000..32_768 => json!("PORT"),
        n => json!(n.cast_signed()),
    }
}

fn take<'a>(b: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, rest) = b.split_at_checked(n)?;
    *b = rest;
    Some(head)
}

fn varint(b: &mut &[u8]) -> Option<u64> {
    let mut n = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&x, rest) = b.split_first()?;
        *b = rest;
        n |= u64::from(x & 0x7f) << shift;
        if x < 0x80 {
            return Some(n);
        }
    }
    None
}
