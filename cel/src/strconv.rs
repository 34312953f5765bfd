//! Numbers as Go's `strconv` reads them, in base ten, with what it says of texts that are none.

use super::go::quote;

/// `strconv.Atoi`.
///
/// # Errors
/// What Go says of a text that is no integer of 64 bits.
pub fn atoi(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| refused("Atoi", text, unsigned(text)))
}

/// `strconv.ParseInt` for 64 bits.
///
/// # Errors
/// As [`atoi`].
pub fn parse_int(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| refused("ParseInt", text, unsigned(text)))
}

/// `strconv.ParseUint` for 64 bits: no sign may stand before the digits.
///
/// # Errors
/// As [`atoi`].
pub fn parse_uint(text: &str) -> Result<u64, String> {
    let digits = Some(text).filter(|t| !t.starts_with('+'));
    let number = digits.and_then(|t| t.parse().ok());
    number.ok_or_else(|| refused("ParseUint", text, text))
}

/// `strconv.ParseUint` for as many bits as the type has.
///
/// # Errors
/// As [`atoi`].
pub fn parse_uint_of<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let number = parse_uint(text)?;
    T::try_from(number).map_err(|_| refused("ParseUint", text, text))
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['-', '+']).unwrap_or(text)
}

fn refused(by: &str, text: &str, digits: &str) -> String {
    let why = match !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        true => "value out of range",
        false => "invalid syntax",
    };
    format!("strconv.{by}: parsing {}: {why}", quote(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_go() {
        for (text, number) in [("0", 0), ("+7", 7), ("-7", -7), ("007", 7)] {
            assert_eq!(atoi(text), Ok(number));
        }
        for (told, wanted) in [
            (atoi("x\u{7f}"), "strconv.Atoi: parsing \"x\\x7f\": invalid syntax"),
            (atoi(""), "strconv.Atoi: parsing \"\": invalid syntax"),
            (
                atoi("-9223372036854775809"),
                "strconv.Atoi: parsing \"-9223372036854775809\": value out of range",
            ),
            (parse_int("1.5"), "strconv.ParseInt: parsing \"1.5\": invalid syntax"),
        ] {
            assert_eq!(told, Err(wanted.to_owned()));
        }
        assert_eq!(parse_uint("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(parse_uint_of("65535"), Ok(u16::MAX));
        let wanted = "strconv.ParseUint: parsing \"65536\": value out of range";
        assert_eq!(parse_uint_of::<u16>("65536"), Err(wanted.to_owned()));
        for (text, why) in [
            ("18446744073709551616", "value out of range"),
            ("+1", "invalid syntax"),
            ("-1", "invalid syntax"),
        ] {
            let wanted = format!("strconv.ParseUint: parsing \"{text}\": {why}");
            assert_eq!(parse_uint(text), Err(wanted));
        }
    }
}
