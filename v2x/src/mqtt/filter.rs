//! Topic names and filters (MQTT 3.1.1 section 4.7).

/// A topic that may be published to: not empty, no wildcard, no NUL.
#[must_use]
pub fn valid_topic(topic: &str) -> bool {
    !topic.is_empty() && !topic.contains(['+', '#', '\0'])
}

/// A filter that may be subscribed to: wildcards fill a whole level, `#` is last.
#[must_use]
pub fn valid_filter(filter: &str) -> bool {
    if filter.is_empty() || filter.contains('\0') {
        return false;
    }
    let levels = filter.split('/').count();
    filter.split('/').enumerate().all(|(i, level)| match level {
        "#" => i + 1 == levels,
        "+" => true,
        l => !l.contains(['+', '#']),
    })
}

/// Whether a topic is in a filter. Wildcards at the start do not match topics that begin with `$` ([MQTT-4.7.2-1]).
#[must_use]
pub fn matches(topic: &str, filter: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut t = topic.split('/');
    let mut f = filter.split('/');
    loop {
        match (t.next(), f.next()) {
            // "a/#" is "a" as well
            (_, Some("#")) | (None, None) => return true,
            (Some(_), Some("+")) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        // from the examples of MQTT 3.1.1, section 4.7
        let cases = [
            ("sport/tennis/player1", "sport/tennis/player1/#", true),
            ("sport/tennis/player1/ranking", "sport/tennis/player1/#", true),
            ("sport", "sport/#", true),
            ("sport/tennis/player1", "sport/tennis/+", true),
            ("sport/tennis/player1/ranking", "sport/tennis/+", false),
            ("sport", "sport/+", false),
            ("sport/", "sport/+", true),
            ("/finance", "+/+", true),
            ("/finance", "/+", true),
            ("/finance", "+", false),
            ("$SYS/broker", "#", false),
            ("$SYS/broker", "+/broker", false),
            ("$SYS/broker", "$SYS/#", true),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
            ("é/x", "#", true),
            ("a", "A", false),
        ];
        for (topic, filter, want) in cases {
            assert_eq!(matches(topic, filter), want, "{topic} in {filter}");
        }
        for (filter, want) in [
            ("#", true),
            ("+", true),
            ("a/#", true),
            ("+/a/#", true),
            ("a/#/b", false),
            ("a#", false),
            ("a+/b", false),
            ("", false),
            ("/", true),
        ] {
            assert_eq!(valid_filter(filter), want, "{filter}");
        }
        assert!(valid_topic("a/b") && !valid_topic("a/+") && !valid_topic("") && !valid_topic("a\0"));
    }
}
