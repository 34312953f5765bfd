//! `string.format`: what a format says, checked before it is evaluated where all is known, and done
//! (`cel-go/ext/formatting.go`, in the locale that upstream has when none is asked for).

use super::CelError;
use super::numbers;
use super::types::Type;
use super::value::{Key, Value};

/// What stands for an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clause {
    Text,
    Decimal,
    Fixed(Option<usize>),
    Scientific(Option<usize>),
    Binary,
    Hex(bool),
    Octal,
}

/// A part of a format: its text, or a clause and the number of its argument.
enum Piece<'f> {
    Plain(&'f str),
    Clause(Clause, usize),
}

/// Splits a format that has so many arguments; `each` is given its pieces in order and says whether they are in order.
/// How many arguments it uses.
fn pieces<'f>(
    format: &'f str,
    args: usize,
    mut each: impl FnMut(Piece<'f>) -> Result<(), String>,
) -> Result<usize, String> {
    let (mut rest, mut used) = (format, 0);
    while let Some(i) = rest.find('%') {
        each(Piece::Plain(&rest[..i]))?;
        rest = &rest[i + 1..];
        if let Some(more) = rest.strip_prefix('%') {
            each(Piece::Plain("%"))?;
            rest = more;
            continue;
        }
        if rest.is_empty() {
            return Err("unexpected end of string".to_owned());
        }
        if used >= args {
            return Err(format!("index {used} out of range"));
        }
        let (clause, more) = clause(rest);
        let clause = clause.map_err(|why| format!("could not parse formatting clause: {why}"))?;
        each(Piece::Clause(clause, used))?;
        used += 1;
        rest = more;
    }
    each(Piece::Plain(rest))?;
    Ok(used)
}

/// The clause that a text starts with, and what follows.
fn clause(text: &str) -> (Result<Clause, String>, &str) {
    let (mut precision, mut rest) = (None, text);
    if let Some(digits) = text.strip_prefix('.') {
        let Some(end) = digits.find(|c: char| !c.is_ascii_digit()) else {
            return (
                Err("error while parsing precision: could not find end of precision specifier".to_owned()),
                "",
            );
        };
        // Rust takes no more digits than these.
        match digits[..end].parse::<u16>() {
            Ok(n) => precision = Some(usize::from(n)),
            Err(_) => {
                let why = if end == 0 {
                    "invalid syntax"
                } else {
                    "value out of range"
                };
                let shown = &digits[..end];
                let why = format!(
                    "error while parsing precision: error while converting precision to integer: strconv.Atoi: parsing \
                     {}: {why}",
                    super::go::quote(shown)
                );
                return (Err(why), "");
            }
        }
        rest = &digits[end..];
    }
    let c = rest.chars().next().unwrap_or_default();
    let clause = match c {
        's' => Ok(Clause::Text),
        'd' => Ok(Clause::Decimal),
        'f' => Ok(Clause::Fixed(precision)),
        'e' => Ok(Clause::Scientific(precision)),
        'b' => Ok(Clause::Binary),
        'x' => Ok(Clause::Hex(false)),
        'X' => Ok(Clause::Hex(true)),
        'o' => Ok(Clause::Octal),
        // Go looks at the first byte.
        c => Err(format!(
            "unrecognized formatting clause \"{}\"",
            char::from(u8::try_from(c).unwrap_or_else(|_| rest.as_bytes()[0]))
        )),
    };
    (clause, rest.get(c.len_utf8()..).unwrap_or_default())
}

impl Clause {
    /// What is told of an argument of a type that it cannot be used for.
    fn refusal(self, given: &str) -> String {
        let why = match self {
            Self::Text => {
                "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, \
                 and timestamps"
            }
            Self::Decimal => "decimal clause can only be used on integers",
            Self::Fixed(_) => "fixed-point clause can only be used on doubles",
            Self::Scientific(_) => "scientific clause can only be used on doubles",
            Self::Binary => "only integers and bools can be formatted as binary",
            Self::Hex(_) => "only integers, byte buffers, and strings can be formatted as hex",
            Self::Octal => "octal clause can only be used on integers",
        };
        format!("error during formatting: {why}, was given {given}")
    }

    fn takes(self, of: &Type) -> bool {
        let whole = matches!(of, Type::Int | Type::Uint);
        match (self, of) {
            (_, Type::Dyn) => true,
            (Self::Text, Type::List(_) | Type::Map(..) | Type::Double | Type::Bool | Type::Text) => true,
            (Self::Text, Type::Time | Type::Bytes | Type::Span | Type::Type(_) | Type::Null) => true,
            (Self::Fixed(_) | Self::Scientific(_), of) => matches!(of, Type::Double | Type::Text),
            (Self::Binary, of) => whole || *of == Type::Bool,
            (Self::Hex(_), of) => whole || matches!(of, Type::Text | Type::Bytes),
            (Self::Text | Self::Decimal | Self::Octal, _) => whole,
        }
    }
}

/// Where what is wrong with a format is.
pub(super) enum Place {
    /// An argument, by its number.
    Argument(usize),
    /// Within one, at this place of the expression.
    At(usize),
}

/// Whether values of a type can be shown as texts.
pub(super) fn is_text(of: &Type) -> bool {
    Clause::Text.takes(of)
}

/// What is wrong with a format whose arguments are of these types: the argument that does not fit, if it is one, and
/// why. For texts, `deep` finds what is within an argument and cannot be one.
pub(super) fn check(
    format: &str,
    args: &[Type],
    deep: impl Fn(usize) -> Option<(usize, Type)>,
) -> Option<(Option<Place>, String)> {
    let mut wrong = None;
    let parsed = pieces(format, args.len(), |piece| {
        let Piece::Clause(clause, i) = piece else { return Ok(()) };
        let of = &args[i];
        let inner = (clause == Clause::Text).then(|| deep(i)).flatten();
        let (at, of) = match inner {
            _ if !clause.takes(of) => (None, of.clone()),
            Some((at, of)) => (Some(at), of),
            None => return Ok(()),
        };
        let given = match &of {
            Type::List(_) => "list".to_owned(),
            Type::Map(..) => "map".to_owned(),
            Type::Opaque(name, _) => name.to_string(),
            Type::Type(_) => "type".to_owned(),
            other => other.runtime_name(),
        };
        wrong = Some((i, at));
        Err(clause.refusal(&given))
    });
    match parsed {
        Err(why) => {
            let place = wrong.map(|(i, at)| at.map_or(Place::Argument(i), Place::At));
            Some((place, why))
        }
        Ok(used) if args.len() > used => {
            let given = args.len();
            let why = format!("too many arguments supplied to string.format (expected {used}, got {given})");
            Some((None, why))
        }
        Ok(_) => None,
    }
}

/// A format with its arguments in their places.
pub(super) fn format(format: &str, args: &[Value]) -> Result<Value, CelError> {
    let mut out = String::new();
    pieces(format, args.len(), |piece| {
        match piece {
            Piece::Plain(text) => out.push_str(text),
            Piece::Clause(clause, i) => {
                let text = shown(clause, &args[i]).ok_or_else(|| clause.refusal(args[i].type_name()))?;
                out.push_str(&text);
            }
        }
        Ok(())
    })
    .map_err(CelError::evaluation)?;
    Ok(Value::text(&out))
}

fn shown(clause: Clause, v: &Value) -> Option<String> {
    let number = |v: &Value| match v {
        Value::Double(n) => Some(*n),
        Value::Text(s) => match &**s {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    };
    let hex = |upper: bool, text: String| if upper { text.to_uppercase() } else { text };
    Some(match (clause, v) {
        (Clause::Text, v) => text(v)?,
        (Clause::Decimal, Value::Int(n)) => n.to_string(),
        (Clause::Decimal, Value::Uint(n)) => n.to_string(),
        (Clause::Fixed(precision), v) => fixed(number(v)?, precision.unwrap_or(6)),
        (Clause::Scientific(precision), v) => scientific(number(v)?, precision.unwrap_or(6)),
        (Clause::Binary, Value::Bool(b)) => u8::from(*b).to_string(),
        (Clause::Binary, Value::Int(n)) => signed(*n, |n| format!("{n:b}")),
        (Clause::Binary, Value::Uint(n)) => format!("{n:b}"),
        (Clause::Octal, Value::Int(n)) => signed(*n, |n| format!("{n:o}")),
        (Clause::Octal, Value::Uint(n)) => format!("{n:o}"),
        (Clause::Hex(upper), Value::Int(n)) => hex(upper, signed(*n, |n| format!("{n:x}"))),
        (Clause::Hex(upper), Value::Uint(n)) => hex(upper, format!("{n:x}")),
        (Clause::Hex(upper), Value::Text(s)) => hex(upper, bytes(s.as_bytes())),
        (Clause::Hex(upper), Value::Bytes(b)) => hex(upper, bytes(b)),
        _ => return None,
    })
}

fn bytes(all: &[u8]) -> String {
    all.iter().map(|b| format!("{b:02x}")).collect()
}

fn signed(n: i64, digits: impl Fn(u64) -> String) -> String {
    let sign = if n < 0 { "-" } else { "" };
    format!("{sign}{}", digits(n.unsigned_abs()))
}

/// A value as `%s` shows it.
fn text(v: &Value) -> Option<String> {
    Some(match v {
        Value::Null => "null".to_owned(),
        Value::Double(n) => numbers::double_text(*n),
        Value::Type(t) => (*t).to_string(),
        Value::List(all) => {
            let all: Option<Vec<String>> = all.iter().map(member).collect();
            format!("[{}]", all?.join(", "))
        }
        Value::Map(all) => {
            let mut pairs = Vec::new();
            for (key, value) in all.iter() {
                let key = match key {
                    Key::Text(s) => super::go::quote(s),
                    other => other.to_text(),
                };
                pairs.push((key, member(value)?));
            }
            pairs.sort();
            let pairs: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}:{v}")).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        Value::Text(_)
        | Value::Int(_)
        | Value::Uint(_)
        | Value::Bool(_)
        | Value::Bytes(_)
        | Value::Time(_)
        | Value::Span(_) => super::functions::text_of(v)?,
        _ => return None,
    })
}

/// A value in a list or a map, as it would be written in an expression.
fn member(v: &Value) -> Option<String> {
    Some(match v {
        Value::Text(s) => super::go::quote(s),
        Value::Bytes(_) => format!("b{}", super::go::quote(&text(v)?)),
        Value::Double(n) if n.is_nan() || n.is_infinite() => super::go::quote(&text(v)?),
        Value::Double(n) => format!("{n:.6}"),
        Value::Time(_) => format!("timestamp({})", super::go::quote(&text(v)?)),
        Value::Span(_) => format!("duration({})", super::go::quote(&text(v)?)),
        other => text(other)?,
    })
}

fn special(n: f64) -> Option<String> {
    if n.is_nan() {
        return Some("NaN".to_owned());
    }
    n.is_infinite().then(|| if n < 0.0 { "-∞" } else { "∞" }.to_owned())
}

/// A number with its digits in groups, as English has it.
fn fixed(n: f64, precision: usize) -> String {
    if let Some(special) = special(n) {
        return special;
    }
    // What is nought has no sign.
    let n = if n == 0.0 { 0.0 } else { n };
    let plain = format!("{n:.precision$}");
    let (sign, plain) = match plain.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", plain.as_str()),
    };
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
    let mut grouped = String::new();
    for (i, c) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(c);
    }
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{grouped}{point}{fraction}")
}

/// A number by its power of ten, as English has it.
fn scientific(n: f64, precision: usize) -> String {
    if let Some(special) = special(n) {
        return special;
    }
    let plain = format!("{n:.precision$e}");
    let (mantissa, power) = plain.split_once('e').unwrap_or((&plain, "0"));
    let (sign, power) = match power.strip_prefix('-') {
        Some(rest) => ("\u{207b}", rest),
        None => ("", power),
    };
    let raised = |c: char| match c {
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '0'..='9' => char::from_u32(0x2070 + u32::from(c) - u32::from('0')).unwrap_or(c),
        other => other,
    };
    let power: String = format!("{power:0>2}").chars().map(raised).collect();
    format!("{mantissa}×10{sign}{power}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_put_in_their_places() {
        for (given, args, wanted) in [
            ("%s-%d%%", vec![Value::text("a"), Value::Int(5)], Ok("a-5%")),
            ("%.2f", vec![Value::Double(12345.678)], Ok("12,345.68")),
            ("%.6e", vec![Value::Double(1_052.032_911_275)], Ok("1.052033×10⁰³")),
            (
                "%x %X %o %b",
                vec![Value::Int(-255), Value::text("é"), Value::Uint(8), Value::Bool(true)],
                Ok("-ff C3A9 10 1"),
            ),
            (
                "%s",
                vec![Value::list(vec![Value::text("a"), Value::Int(1), Value::Null])],
                Ok("[\"a\", 1, null]"),
            ),
            ("%d", vec![], Err("index 0 out of range")),
            (
                "%d",
                vec![Value::Bool(true)],
                Err("error during formatting: decimal clause can only be used on integers, was given bool"),
            ),
            (
                "%q",
                vec![Value::Int(1)],
                Err("could not parse formatting clause: unrecognized formatting clause \"q\""),
            ),
            ("%", vec![Value::Int(1)], Err("unexpected end of string")),
        ] {
            let found = format(given, &args).map_err(|e| e.to_string());
            let found = found.as_ref().map_err(String::as_str);
            assert_eq!(found, wanted.map(Value::text).as_ref().map_err(|e| *e), "{given}");
        }
    }

    #[test]
    fn formats_are_checked_where_all_is_known() {
        for (format, types, wanted) in [
            ("%s %d", vec![Type::Text, Type::Dyn], None),
            (
                "%s",
                vec![Type::Text, Type::Int],
                Some("too many arguments supplied to string.format (expected 1, got 2)"),
            ),
            (
                "%s%d",
                vec![Type::Text, Type::list(Type::Int)],
                Some("error during formatting: decimal clause can only be used on integers, was given list"),
            ),
        ] {
            let found = check(format, &types, |_| None).map(|(_, why)| why);
            assert_eq!(found.as_deref(), wanted, "{format}");
        }
    }
}
