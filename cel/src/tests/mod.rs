mod generated;

use serde_json::json;

use super::{CelError, Environment, Program, Scope, Value, check};

fn scope() -> Scope {
    let object = json!({"metadata": {"name": "x", "labels": {"app": "web"}}, "spec": {"replicas": 3, "ratio": 0.5,
        "ports": [{"port": 80, "name": "http"}, {"port": 443}], "image": "r.example/app:1.2"}});
    Scope::from([("object".to_owned(), Value::from_json(&object))])
}

fn run(text: &str) -> Result<Value, CelError> {
    Program::compile(text, &["object"])?.evaluate(&scope())
}

/// `lastIndexOf` looks from a character backwards, whatever its bytes: what is found begins there at the latest.
#[test]
fn where_a_text_is_from_a_place() {
    for (text, value) in [
        ("'aé'.lastIndexOf('é', 0)", -1),
        ("'aé'.lastIndexOf('é', 1)", 1),
        ("'aéé'.lastIndexOf('é', 1)", 1),
        ("'a€b€'.lastIndexOf('€b', 0)", -1),
        ("'a€b€'.lastIndexOf('€', 2)", 1),
        ("'a€b€'.lastIndexOf('€', 3)", 3),
        ("'ab'.lastIndexOf('éé', 0)", -1),
        ("'tacocat'.lastIndexOf('ac', 3)", 1),
        ("'tacocat'.lastIndexOf('a', 4)", 1),
        ("'tacocat'.lastIndexOf('a', 5)", 5),
        ("'tacocat'.lastIndexOf('at', 6)", 5),
        ("'tacocat'.lastIndexOf('tacocatt', 6)", -1),
        ("'tacocat'.lastIndexOf('', 3)", 3),
        ("'a€b€'.indexOf('€', 2)", 3),
        ("'a€b€'.indexOf('€', 1)", 1),
    ] {
        assert_eq!(run(text).unwrap().to_json(), Some(json!(value)), "{text}");
    }
    for text in ["'aé'.lastIndexOf('é', -1)", "'aé'.indexOf('é', -1)"] {
        let refused = run(text).map(|v| v.to_json()).unwrap_err().to_string();
        assert!(refused.contains("index out of range: -1"), "{refused}");
    }
}

#[test]
fn expressions_and_their_values() {
    for (text, value) in [
        ("1 + 2 * 3 == 7 && !(1 > 2)", json!(true)),
        ("object.spec.replicas > 1 ? 'many' : 'one'", json!("many")),
        ("has(object.spec.replicas) && !has(object.spec.paused)", json!(true)),
        ("object.spec.ports.all(p, p.port > 0)", json!(true)),
        ("object.spec.ports.exists(p, p.port == 443)", json!(true)),
        ("object.spec.ports.exists_one(p, has(p.name))", json!(true)),
        ("object.spec.ports.map(p, p.port)", json!([80, 443])),
        ("object.spec.ports.filter(p, p.port > 100).size()", json!(1)),
        ("object.spec.ports.map(p, has(p.name), p.name)", json!(["http"])),
        (
            "object.spec.image.startsWith('r.example/') && object.spec.image.matches('[0-9.]+$')",
            json!(true),
        ),
        ("'a,b'.split(',') + ['c']", json!(["a", "b", "c"])),
        ("'app' in object.metadata.labels && 2 in [1, 2]", json!(true)),
        ("object.metadata.labels['app'] + string(4)", json!("web4")),
        ("object.?spec.?paused.orValue(false)", json!(false)),
        ("object.spec[?'replicas'].hasValue()", json!(true)),
        ("quantity('1Gi').isGreaterThan(quantity('512Mi'))", json!(true)),
        (
            "ip('169.254.1.1').isLinkLocalUnicast() && ip('ff02::1').isLinkLocalMulticast() && ip('10.0.0.1').isGlobalUnicast()",
            json!(true),
        ),
        (
            "cidr('192.168.5.9/16').masked() == cidr('192.168.0.0/16') && cidr('fd00::1/0').masked() == cidr('::/0')",
            json!(true),
        ),
        (
            "semver('1.2.3').isLessThan(semver('1.10.0')) && isSemver('v1.2', true)",
            json!(true),
        ),
        ("[1, 2, 3].sum() == 6 && [3, 1].min() == 1", json!(true)),
        (
            "Object{spec: Object.spec{replicas: 5}}",
            json!({"spec": {"replicas": 5}}),
        ),
        ("{'a': 1, 'b': [true, null]}", json!({"a": 1, "b": [true, null]})),
        ("duration('1h30m') > duration('80m')", json!(true)),
        ("timestamp('2024-01-02T03:04:05Z').getFullYear()", json!(2024)),
        ("int(timestamp('9999-12-31T23:59:59Z'))", json!(253_402_300_799_i64)),
        (
            "string(timestamp('9999-12-31T23:59:59Z') - duration('1.5s'))",
            json!("9999-12-31T23:59:57.5Z"),
        ),
        ("false && object.nothing == 1", json!(false)),
        ("object.nothing == 1 || true", json!(true)),
        ("cidr('10.0.0.0/8').containsIP('10.1.2.3')", json!(true)),
        ("'%s has %d'.format(['x', 3])", json!("x has 3")),
        ("type(1) == int && type('') == string", json!(true)),
        ("1 == 1.0 && 1u < 2", json!(true)),
        ("cel.bind(n, object.spec.replicas, n * n)", json!(9)),
        ("r'\\d' + \"\\u00e9\"", json!("\\dé")),
        ("-object.spec.replicas", json!(-3)),
        ("[1, 2].all(i, v, v == i + 1)", json!(true)),
        ("jsonpatch.escapeKey('a/b~c')", json!("a~1b~0c")),
        ("lists.range(3) + [[1, [2]], [3]].flatten(2)", json!([0, 1, 2, 1, 2, 3])),
        (
            "optional.unwrap([optional.of(1), optional.none()]) + [optional.of(2)].unwrapOpt()",
            json!([1, 2]),
        ),
        ("{'a': 1}.transformMapEntry(k, v, {k + 'b': v + 1})", json!({"ab": 2})),
        (
            "url('https://x/?a=1&b=%20&a=2').getQuery()",
            json!({"a": ["1", "2"], "b": [" "]}),
        ),
        (
            "format.dns1123Label().validate('a.b').value()",
            json!(["must not contain dots"]),
        ),
        (
            "format.named('uuid').value().validate('x').hasValue() && !format.named('y').hasValue()",
            json!(true),
        ),
        ("sign(quantity('-1'))", json!(-1)),
    ] {
        let v = run(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(v.to_json(), Some(value), "{text}");
    }
}

#[test]
fn what_has_no_value_says_why() {
    for (text, why) in [
        ("object.nothing", "no such key: nothing"),
        ("1 / 0", "division by zero"),
        ("-duration('-9223372036854775808ns')", "integer overflow"),
        ("duration('2562047h') + duration('2562047h')", "integer overflow"),
        (
            "timestamp('9999-12-31T23:59:59Z') - timestamp('0001-01-01T00:00:00Z')",
            "integer overflow",
        ),
        (
            "timestamp('9999-12-31T23:59:59Z') + duration('1s')",
            "timestamp overflow",
        ),
        (
            "timestamp('0001-01-01T00:00:00Z') - duration('1s')",
            "timestamp overflow",
        ),
        ("timestamp(253402300800)", "timestamp overflow"),
        ("timestamp('0000-01-01T00:00:00' + 'Z')", "timestamp overflow"),
        ("math.abs(-9223372036854775807 - 1)", "integer overflow"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("'a' + 1", "no such overload"),
        ("[1][2]", "index out of bounds: 2"),
        ("'x'.matches('(')", "error parsing regexp"),
    ] {
        let e = run(text).unwrap_err().to_string();
        assert!(e.contains(why), "{text}: {e}");
    }
}

#[test]
fn what_is_no_expression_is_refused_when_it_is_read() {
    for (text, why) in [
        ("... [] bad expression", "compilation failed: ERROR: <input>:1:"),
        ("1 +", "mismatched input '<EOF>'"),
        ("", "ERROR: <input>:1:0: Syntax error: mismatched input '<EOF>'"),
        (" ", "ERROR: <input>:1:2: Syntax error: mismatched input '<EOF>'"),
        ("nobody.spec", "undeclared reference to 'nobody'"),
        ("nosuch(1)", "undeclared reference to 'nosuch'"),
        ("'open", "token recognition error at: ''open'"),
        ("[1, 2].map(x, y)", "undeclared reference to 'y'"),
    ] {
        let e = Program::compile(text, &["object"]).unwrap_err().to_string();
        assert!(e.contains(why), "{text}: {e}");
    }
    let deep = "(".repeat(1000) + &")".repeat(1000);
    assert!(Program::compile(&deep, &[]).is_err());
}

#[test]
fn long_chains_are_refused_and_long_conditions_are_not() {
    let chains = [
        format!("object{}", ".a".repeat(300)),
        format!("1{}", " + 1".repeat(300)),
        format!("object{}", "[0]".repeat(300)),
        format!("(object{}){}", ".a".repeat(200), ".a".repeat(200)),
    ];
    for text in chains {
        let refused = Program::compile(&text, &["object"])
            .map(drop)
            .map_err(|e| e.to_string());
        assert!(
            refused.is_err_and(|e| e.contains("max recursion depth exceeded")),
            "{text}"
        );
    }
    for (sign, value) in [(" && ", "true"), (" || ", "false")] {
        let text = vec![value; 5000].join(sign);
        assert_eq!(run(&text).unwrap().to_json(), Some(json!(value == "true")), "{sign}");
    }
}

/// As high as an expression may be, with the stack that a test's thread has.
#[test]
fn the_highest_expressions_have_room() {
    let lengths: Vec<usize> = (1..=260).collect();
    for macros in [
        ".map(x, x)",
        ".filter(x, true)",
        ".map(x, true, x)",
        ".all(x, true) ? [1] : [1]",
    ] {
        let text = |n: usize| format!("[1]{}", macros.repeat(n));
        let refused = |n: usize| matches!(run(&text(n)), Err(e) if e.to_string().contains("recursion"));
        let highest = lengths.partition_point(|n| !refused(*n));
        assert!((60..260).contains(&highest), "{macros}: {highest}");
        assert_eq!(run(&text(highest)).unwrap().to_json(), Some(json!([1])), "{macros}");
        assert!(check(&text(highest), &Environment::default()).is_ok(), "{macros}");
    }
}

#[test]
fn what_is_too_much_is_refused_before_it_is_made() {
    for text in [
        "lists.range(1000000000000).size()",
        "lists.range(object.spec.replicas * 1000000).size()",
    ] {
        assert!(
            run(text).is_err_and(|e| e.to_string().contains("cost limit exceeded")),
            "{text}"
        );
    }
    assert!(run("'%.70000f'.format([1.0])").is_err());
    assert!(run("'%.7f'.format([1.0])").is_ok());
}

#[test]
fn an_evaluation_ends() {
    let long = "[0,1,2,3,4,5,6,7,8,9]";
    let mut text = "true".to_owned();
    for i in 0..8 {
        text = format!("{long}.all(x{i}, {text})");
    }
    let e = Program::compile(&text, &[])
        .unwrap()
        .evaluate(&Scope::new())
        .unwrap_err();
    assert!(e.to_string().contains("cost limit"), "{e}");
}

#[test]
fn a_list_of_fewer_than_nothing_costs_as_nothing() {
    let environment = super::Environment {
        variables: std::collections::BTreeMap::new(),
        bindings: true,
        patches: false,
    };
    let cost = |text| {
        let expression = super::Expression::compile(text, &environment).unwrap();
        expression.cost(&super::cost::Shape::default())
    };
    assert_eq!(cost("lists.range(-5).size() == 0"), cost("lists.range(0).size() == 0"));
    assert!(cost("lists.range(1000).size() == 0") > 1000);
}
