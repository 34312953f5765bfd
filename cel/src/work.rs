//! What a call costs beyond looking at each of its values once: what compares many with many, or makes more than it is
//! given. It is known, and paid for, before anything is done.

use super::value::Value;

/// Steps of a function; `of` are its target, where it has one, and its arguments.
pub(super) fn beyond(name: &str, of: &[Value]) -> u64 {
    let pairs = |a: usize, b: usize| a as u64 * b as u64 / 16;
    match (name, of) {
        ("range", [Value::Int(n)]) => u64::try_from(*n).unwrap_or(0),
        // Of each text that is found, one comes to be.
        ("replace", [Value::Text(s), Value::Text(a), Value::Text(b), ..]) => {
            pairs(s.len() / a.len().max(1) + 1, b.len())
        }
        ("join", [Value::List(l), Value::Text(by)]) => pairs(l.len(), by.len()),
        ("distinct", [Value::List(l)]) => pairs(l.len(), l.len()),
        ("contains" | "intersects" | "equivalent", [Value::List(a), Value::List(b)]) => pairs(a.len(), b.len()),
        // Sets and maps have their items looked for.
        ("+" | "==" | "!=", [Value::List(a), Value::List(b)]) if !a.is_atomic() || !b.is_atomic() => {
            pairs(a.len(), b.len())
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::beyond;
    use crate::value::Value;

    #[test]
    fn what_is_made_is_paid_for() {
        let (long, one) = (Value::text(&"a".repeat(100_000)), Value::text("a"));
        assert!(beyond("replace", &[long.clone(), one.clone(), long.clone()]) > 100_000_000);
        assert!(beyond("replace", &[long.clone(), one.clone(), one.clone()]) < 10_000);
        let list = Value::list(vec![one.clone(); 10_000]);
        assert!(beyond("distinct", std::slice::from_ref(&list)) > 1_000_000);
        assert!(beyond("join", &[list.clone(), long]) > 10_000_000);
        assert_eq!(beyond("+", &[list.clone(), list]), 0);
        assert_eq!(beyond("range", &[Value::Int(-1)]), 0);
    }
}
