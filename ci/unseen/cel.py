"""Expressions that nobody wrote down: made by type of what cel/src/overloads.txt declares, and changed by token and by character."""

import pathlib
import random
import re

TEXT = pathlib.Path(__file__).parent.parent.parent / "cel" / "src" / "overloads.txt"

# What expressions are about: the schema of an object, and the types that its fields have for them.
FIELDS = {
    "s": ({"type": "string", "maxLength": 20}, "string"), "t": ({"type": "string", "maxLength": 20}, "string"), "n": ({"type": "integer"}, "int"),
    "m": ({"type": "integer", "format": "int32"}, "int"), "d": ({"type": "number"}, "double"), "b": ({"type": "boolean"}, "bool"),
    "when": ({"type": "string", "format": "date-time"}, "timestamp"), "day": ({"type": "string", "format": "date"}, "timestamp"),
    "span": ({"type": "string", "format": "duration"}, "duration"), "raw": ({"type": "string", "format": "byte", "maxLength": 20}, "bytes"),
    "l": ({"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 9}}, "list(string)"),
    "set": ({"type": "array", "maxItems": 5, "x-kubernetes-list-type": "set", "items": {"type": "string", "maxLength": 9}}, "list(string)"),
    "nums": ({"type": "array", "maxItems": 5, "items": {"type": "integer"}}, "list(int)"), "reals": ({"type": "array", "maxItems": 5, "items": {"type": "number"}}, "list(double)"),
    "map": ({"type": "object", "maxProperties": 5, "additionalProperties": {"type": "string", "maxLength": 9}}, "map(string, string)"),
    "counts": ({"type": "object", "maxProperties": 5, "additionalProperties": {"type": "integer"}}, "map(string, int)"),
    "either": ({"x-kubernetes-int-or-string": True}, "dyn"), "none": ({"type": "string", "nullable": True, "maxLength": 9}, "string"),
    "o": ({"type": "object", "properties": {"s": {"type": "string", "maxLength": 9}, "n": {"type": "integer"}, "a-b": {"type": "string", "maxLength": 9}}}, "o"),
    "os": ({"type": "array", "maxItems": 4, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {
        "type": "object", "required": ["k"], "properties": {"k": {"type": "string", "maxLength": 9}, "v": {"type": "integer"}}}}, "list(e)"),
}
SCHEMA = {"type": "object", "properties": {name: schema for name, (schema, _) in FIELDS.items()}}
TEXTS = ["", "a", "b", "ab", "a-b", "A_b", "a.b", "x,y,z", "é", "日本", "a b ", " a", "\\t", "10", "-5", "1.5", "true", "1h30m", "1m", "-90s", "1.5h", "10.0.0.1", "::1", "fe80::1",
         "10.0.0.0/8", "fd00::/16", "1Gi", "500m", "-1", "1.5e3", "1.2.3", "v1.0", "1.0.0-rc.1", "https://h:8/p?q=1&r=%20", "/p", "2024-01-02T03:04:05Z", "2024-01-02T03:04:05.678+02:00",
         "2024-01-02", "^a+$", "[a-c]", "(", "a|b", "%s %d", "%.2f", "app", "123e4567-e89b-12d3-a456-426614174000", "eA==", "example.com/name", "aaaa", "\\n"]
LITERALS = {
    "int": ["0", "1", "2", "3", "-1", "7", "10", "64", "9223372036854775807", "-9223372036854775808", "0x1F", "1700000000"],
    "uint": ["0u", "1u", "2u", "18446744073709551615u", "0x1Fu"],
    "double": ["0.0", "1.0", "1.5", "-2.5", "1e3", "0.1", "1e300", "-0.0", "2.5", "1e21", "1e-7", "123456789.125"],
    "bool": ["true", "false"], "bytes": ["b'a'", "b''", "b'\\xff'", "b'é'"], "null_type": ["null"],
    "string": ["'" + t.replace("'", "\\'") + "'" for t in TEXTS] + ['"x"', "r'\\d'", "'''a'b'''"],
    "timestamp": ["timestamp('2024-01-02T03:04:05Z')", "timestamp('1969-12-31T23:59:59.5Z')", "timestamp(1700000000)"],
    "duration": ["duration('1h')", "duration('-90s')", "duration('1.5s')", "duration('0s')", "duration('100ms')"],
    "kubernetes.Quantity": ["quantity('1Gi')", "quantity('500m')", "quantity('-1')", "quantity('1.5')", "quantity('12e6')"],
    "kubernetes.Semver": ["semver('1.2.3')", "semver('1.10.0-rc.1')", "semver('v1.2', true)"], "kubernetes.URL": ["url('https://h.example:8443/p/q%20?a=1&a=2&b=')", "url('/p')", "url('http://[::1]:80/')"],
    "net.IP": ["ip('10.0.0.1')", "ip('::1')", "ip('fe80::1')", "ip('224.0.0.1')"], "net.CIDR": ["cidr('10.1.2.3/8')", "cidr('fd00::/16')"],
}
PLAIN = ["int", "string", "bool", "double", "uint", "bytes", "timestamp", "duration"]
# What a value is shown with, by its type; others are shown by what can be asked of them.
AS_TEXT = ["string", "int", "uint", "double", "bool", "timestamp", "duration", "bytes", "net.IP", "net.CIDR"]


def parsed(text):
    """`list(map(string, A))` as nested tuples."""
    name, _, rest = text.strip().partition("(")
    if not rest:
        return (name,)
    parts, depth, start = [], 0, 0
    for i, c in enumerate(rest):
        depth += {"(": 1, ")": -1}.get(c, 0)
        if depth < 0 or (c == "," and depth == 0):
            parts.append(parsed(rest[start:i]))
            start = i + 1
    return (name, *parts)


def overloads():
    for line in TEXT.read_text(encoding="utf-8").splitlines():
        name, _, rest = line.partition("(")
        depth = 1
        for i, c in enumerate(rest):
            depth += {"(": 1, ")": -1}.get(c, 0)
            if depth == 0:
                break
        takes = parsed("x(" + rest[:i] + ")")[1:] if rest[:i] else ()
        if "authorization" not in line and "@" not in name.replace("@in", "") and name != "_?._":
            yield name, takes, parsed(rest[i + 1:])


OVERLOADS = list(overloads())


def is_parameter(t):
    return len(t) == 1 and len(t[0]) == 1 and t[0].isupper()


def bind(pattern, wanted, bound):
    if is_parameter(pattern):
        return bound.setdefault(pattern[0], wanted) == wanted
    return pattern[0] == wanted[0] and len(pattern) == len(wanted) and all(bind(p, w, bound) for p, w in zip(pattern[1:], wanted[1:]))


def filled(t, bound):
    if is_parameter(t):
        return bound.setdefault(t[0], (random.choice(PLAIN),))
    return (t[0], *(filled(p, bound) for p in t[1:]))


class Maker:
    """Makes expressions of a type over `self`."""

    def __init__(self):
        self.names = []

    def atom(self, t):
        found = [name for name, of in self.names if of == t]
        found += ["self." + f for f, (_, of) in FIELDS.items() if parsed(of) == t] * 2
        if t == ("string",):
            found += ["self.o.s", "self.os[0].k", "self.o.a__dash__b"]
        if found and random.random() < 0.6:
            return random.choice(found)
        if t[0] in LITERALS:
            return random.choice(LITERALS[t[0]])
        if t[0] == "list":
            return "[" + ", ".join(self.made(t[1], 0) for _ in range(random.choice([0, 1, 2, 3]))) + "]"
        if t[0] == "map":
            return "{" + ", ".join(f"{k}: {self.made(t[2], 0)}" for k in random.sample(LITERALS.get(t[1][0], ["'a'"])[:6], random.choice([0, 1, 2]) if len(LITERALS.get(t[1][0], [])) > 1 else 1)) + "}"
        if t[0] == "optional_type":
            return f"optional.of({self.made(t[1], 0)})" if random.random() < 0.7 else "optional.none()"
        if t[0] == "type":
            return f"type({self.made((random.choice(PLAIN),), 0)})"
        if t[0] == "dyn":
            return random.choice(["self.either", "dyn(" + self.made((random.choice(PLAIN),), 0) + ")"])
        if t[0] == "kubernetes.NamedFormat":
            return "format." + random.choice(["dns1123Label", "uuid", "uri", "date", "byte", "datetime", "qualifiedName", "labelValue", "dns1035LabelPrefix"]) + "()"
        return "self." + {"o": "o", "e": "os[0]"}.get(t[0], "s")

    def within(self, name, t, wanted, depth):
        self.names.append((name, t))
        made = self.made(wanted, depth)
        self.names.pop()
        return made

    def macro(self, t, depth):
        of = random.choice([("string",), ("int",), ("e",), ("double",)])
        over = self.made(("list", of), depth)
        name = random.choice("xyij")
        test = lambda: self.within(name, of, ("bool",), depth)
        if t == ("bool",):
            kind = random.choice(["all", "exists", "exists_one", "has", "two"])
            if kind == "has":
                return random.choice(["has(self.%s)" % random.choice(list(FIELDS)), "has(self.o.n)", "has(self.map.a)"])
            if kind == "two":
                self.names.append(("i", ("int",)))
                made = f"{over}.{random.choice(['all', 'exists'])}(i, x, {self.within('x', of, ('bool',), depth)})"
                self.names.pop()
                return made
            return f"{over}.{kind}({name}, {test()})"
        if t[0] == "list":
            if t[1] == of and random.random() < 0.5:
                return f"{over}.filter({name}, {test()})"
            if random.random() < 0.3:
                return f"{over}.map({name}, {test()}, {self.within(name, of, t[1], depth)})"
            return f"{over}.map({name}, {self.within(name, of, t[1], depth)})"
        if t[0] == "optional_type" and t[1][0] != "e":
            return f"{self.made(('optional_type', of), depth)}.optMap({name}, {self.within(name, of, t[1], depth)})"
        if t[0] == "string":
            return f"self.?{random.choice('st')}.orValue({self.made(t, depth)})"
        return f"({self.made(('bool',), depth)} ? {self.made(t, depth)} : {self.made(t, depth)})"

    def made(self, t, depth):
        if depth <= 0 or random.random() < 0.1:
            return self.atom(t)
        if random.random() < 0.15:
            return self.macro(t, depth - 1)
        if t[0] == "bool" and random.random() < 0.2:
            sign = random.choice(["&&", "||"])
            return f"({self.made(t, depth - 1)} {sign} {self.made(t, depth - 1)})"
        fit = []
        for name, takes, gives in OVERLOADS:
            bound = {}
            if not is_parameter(gives) and bind(gives, t, bound) or is_parameter(gives) and random.random() < 0.1 and bind(gives, t, bound):
                fit.append((name, takes, bound))
        if not fit:
            return self.atom(t)
        names = sorted({f[0] for f in fit})
        chosen = random.choice(names)
        name, takes, bound = random.choice([f for f in fit if f[0] == chosen])
        args = [self.made(filled(p, bound), depth - 1) for p in takes]
        return called(name, args)


def called(name, args):
    operator = re.fullmatch(r"_(.+)_", name) if name.startswith("_") else None
    if name == "_[_]":
        return f"{args[0]}[{args[1]}]"
    if name == "_[?_]":
        return f"{args[0]}[?{args[1]}]"
    if name == "_?_:_":
        return f"({args[0]} ? {args[1]} : {args[2]})"
    if name == "@in":
        return f"({args[0]} in {args[1]})"
    if operator:
        return f"({args[0]} {operator[1]} {args[1]})"
    if name in ("!_", "-_"):
        return f"{name[0]}({args[0]})"
    if name.startswith("."):
        return f"{args[0]}{name}({', '.join(args[1:])})"
    return f"{name}({', '.join(args)})"


def condition(depth=3):
    return Maker().made(("bool",), random.choice(range(1, depth + 1)))


def shown(depth=3):
    """An expression of a text that tells a value."""
    maker, depth = Maker(), random.choice(range(1, depth + 1))
    kind = random.random()
    if kind < 0.5:
        return maker.made(("string",), depth)
    if kind < 0.8:
        return f"string({maker.made((random.choice(AS_TEXT),), depth)})"
    verb, of = random.choice([("%s", ("list", ("string",))), ("%s", ("map", ("string",), ("int",))), ("%d", ("int",)), ("%.3f", ("double",)), ("%e", ("double",)), ("%x", ("string",)),
                              ("%X", ("int",)), ("%b", ("int",)), ("%o", ("int",)), ("%s", ("double",)), ("%s", ("timestamp",)), ("%s", ("duration",)), ("%s", ("bytes",)), ("%s", ("bool",)),
                              ("%s", ("list", ("double",))), ("%s", ("type",)), ("%f", ("double",)), ("%s", ("dyn",))])
    return f"'{verb}'.format([{maker.made(of if of != ('type',) else ('type', ('int',)), depth)}])"


TOKENS = re.compile(r"""[bBrR]{0,2}('''.*?'''|\"\"\".*?\"\"\"|'(\\.|[^'\\\n])*'|"(\\.|[^"\\\n])*")|0x[0-9a-fA-F]+u?|[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?u?|[A-Za-z_]\w*|==|!=|<=|>=|&&|\|\||\s+|.""", re.S)
OTHERS = ["(", ")", "[", "]", "{", "}", ",", ".", ":", "?", "!", "-", "+", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", " in ", "self", "oldSelf", "x", "true", "null", "false",
          "0", "1", "2u", "1.5", "'a'", '"', "'", "`", "`a.b`", "$", "@", "#", "&", "|", "=", "\\", "é", "日", "\n", "\t", "\r", " ", "//c\n", "//", "for", "if", "package", "namespace", "has", "self.s",
          ".?s", "[?0]", "size(", "has(", ".all(x, ", ".map(x, ", ".filter(1, ", ".exists(x.y, ", "cel.bind(a, ", "optional.of(", "{1:", "a{b:", ".optMap(x, ", "b'", "r'", "rb'a'", "br'\\'", "'\\u00e9'", "'\\ud800'",
          "'\\U00110000'", "'\\x+5'", "'\\400'", "'\\q'", "'''a\nb'''", "b'\\u00e9'", "0x", "0xfg", "1e", "1.e5", "1.", ".5", "99999999999999999999", "99999999999999999999u", "1e999", "-9223372036854775809",
          "__result__", "@result", "int", "self.x", "self.s.z", "'\\303'", "b'\\303'", "...", "--", "!!", "-1", "- 1"]
WHOLE = ["self.s == 'a' && self.n > 1", "has(self.s) ? self.s.size() < 3 : true", "self.l.all(x, x.startsWith('a'))", "self.l.exists(x, x in ['a', 'b'])", "self.map.all(k, self.map[k] != '')",
         "!has(self.o) || self.o.n >= 0", "self.nums.map(x, x * 2).sum() < 100", "self.os.filter(e, e.v > 1).size() <= 2", "self.?s.orValue('') != 'x'", "{'a': 1, 'b': 2}['a'] == 1",
         "self.when < timestamp('2030-01-01T00:00:00Z')", "duration('1h') > self.span", "quantity('1Gi').isGreaterThan(quantity('1Mi'))", "self.l.exists_one(x, x == \"a\")",
         "self.l.map(x, x != '', x + 'b').join(',') == ''", "optional.of(self.n).optMap(x, x + 1).orValue(0) == 1", "self.nums.transformList(i, x, i + x).size() == 0", "[1, 2u, 3.0].size() == 3",
         "'%s is %d'.format([self.s, self.n]) == 'x'", "-self.n < -(1 + 2) * 3 % 4 - 5 / 6", "true || false && !(1 == 2)", "b'abc' == bytes('abc')", "r'\\d' + '\\n' == ''", "type(self.n) == int", "self.either == 5",
         "cidr('10.0.0.0/8').containsIP(ip('10.1.2.3'))", "self.s.matches('^[a-z]+$')", "url('https://x/y').getHost() == 'x'", "semver('1.2.3').isLessThan(semver('1.10.0'))", "self.o.s.lowerAscii() != 'y'",
         "self == oldSelf", "sets.contains([1], [1])", "size(self.l) + size(self.map) == 0", "format.dns1123Label().validate(self.s).hasValue()", "1.5e3 > 0x10 ? 1u > 2u : null == null"]


def changed(text):
    """A text with one to three changes of tokens or characters."""
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        if random.random() < 0.6:
            parts = [m.group(0) for m in TOKENS.finditer(text)]
            if not parts:
                return random.choice(OTHERS)
            i = random.randrange(len(parts))
            how = random.choice(["drop", "twice", "swap", "insert", "replace", "replace", "cut", "other"])
            if how == "drop":
                del parts[i]
            elif how == "twice":
                parts.insert(i, parts[i])
            elif how == "swap":
                j = random.randrange(len(parts))
                parts[i], parts[j] = parts[j], parts[i]
            elif how == "insert":
                parts.insert(i, random.choice(OTHERS))
            elif how == "replace":
                parts[i] = random.choice(OTHERS)
            elif how == "cut":
                parts = parts[:i] if random.random() < 0.7 else parts[i:]
            else:
                donor = [m.group(0) for m in TOKENS.finditer(random.choice(WHOLE))]
                parts[i:i + 1] = donor[random.randrange(len(donor)):][: random.choice([1, 2, 4])]
            text = "".join(parts)
        elif text:
            i = random.randrange(len(text))
            how = random.choice(["drop", "insert", "replace"])
            other = random.choice("()[]{},.:?!-+*/%=<>&|'\"\\`$@#abxu019_ \n\t\ré日rbE")
            text = text[:i] + ("" if how == "drop" else other) + text[i + (how != "insert"):]
    return text


def text():
    """An expression, whole or with changes."""
    base = random.choice([lambda: random.choice(WHOLE), condition, shown])()
    return base if random.random() < 0.2 else changed(base)


VALUES = {
    "string": ["", "a", "ab", "A_b", "a-b", "é", "日本", "x,y", "10", "1.5", "1h", "10.0.0.1", "1Gi", "1.2.3", " a "], "int": [0, 1, -1, 7, 2147483647], "double": [0, 1, 1.5, -2.5, 1e21, 0.1, 100],
    "bool": [True, False], "timestamp": ["2024-01-02T03:04:05Z", "2024-02-29T23:59:59.123456789Z", "1969-12-31T00:00:00+01:00"], "duration": ["1h", "90s", "1.5h", "-5m", "0s", "100ms"], "bytes": ["YWE=", "YQ==", "/w==", "w6k="],
}


def value(schema, kind):
    if kind == "dyn":
        return random.choice([5, "50%", 0, "a"])
    if kind == "o":
        return {k: v for k, v in {"s": random.choice(VALUES["string"]), "n": random.choice(VALUES["int"]), "a-b": "q"}.items() if random.random() < 0.7}
    if kind == "list(e)":
        return [{"k": k, **({"v": random.choice(VALUES["int"])} if random.random() < 0.7 else {})} for k in random.sample(["a", "b", "c"], random.choice([0, 1, 2]))]
    if kind.startswith("list("):
        found = random.sample(VALUES[kind[5:-1]], random.choice([0, 1, 2, 3]))
        return found if schema.get("x-kubernetes-list-type") == "set" else found + found[: random.choice([0, 0, 1])]
    if kind.startswith("map("):
        return {k: random.choice(VALUES[kind[12:-1]]) for k in random.sample(["a", "b", "c d", "e/f"], random.choice([0, 1, 2, 3]))}
    if schema.get("format") == "date":
        return random.choice(["2024-01-02", "1999-12-31"])
    if schema.get("format") == "int32":
        return random.choice(VALUES["int"])
    return random.choice(VALUES[kind])


def instance():
    """An object of the schema; some fields are not there."""
    found = {name: value(schema, kind) for name, (schema, kind) in FIELDS.items() if random.random() < 0.85}
    if random.random() < 0.3:
        found["none"] = None
    return found


# Formats that custom resources' fields may have, and texts that have them.
FORMATS = {
    "bsonobjectid": ["507f1f77bcf86cd799439011"], "uri": ["https://a.example/b?c#d", "urn:x:y", "//h/p", "/p"], "email": ["a@b.example", "A B <a@b.c>", "x@[10.0.0.1]", "a@b"],
    "hostname": ["a.example", "A-b", "1.2.3.4", "xn--bcher-kva.example", "a_b"], "ipv4": ["10.0.0.1", "::ffff:1.2.3.4"], "ipv6": ["::1", "fe80::1%eth0", "::ffff:1.2.3.4"],
    "cidr": ["10.0.0.0/8", "fd00::/8", "1.2.3.4/33"], "mac": ["01:23:45:67:89:ab", "0123.4567.89ab", "01-23-45-67-89-AB-cd-ef"], "uuid": ["123e4567-e89b-12d3-a456-426614174000", "123E4567e89b12d3a456426614174000"],
    "uuid3": ["123e4567-e89b-32d3-a456-426614174000"], "uuid4": ["123e4567-e89b-42d3-a456-426614174000"], "uuid5": ["123e4567-e89b-52d3-a456-426614174000"], "isbn": ["0321751043", "978-0321751041"],
    "isbn10": ["0321751043", "0-321-75104-3"], "isbn13": ["978-0321751041"], "creditcard": ["4111111111111111", "5555 5555 5555 4444"], "ssn": ["123-45-6789", "123 45 6789"], "hexcolor": ["#ffF", "FFFFFF"],
    "rgbcolor": ["rgb(255,255,255)", "rgb(1, 2, 3)", "rgb( 0,0,256)"], "byte": ["YQ==", "YWI=", "YWJj", ""], "password": ["x"], "date": ["2024-02-29", "2023-02-29"],
    "duration": ["1h30m", "22 ns", "1.5h", "3 days", "1 week", "-5m", "2 hours"], "date-time": ["2014-12-15T19:30:20.000Z", "2024-01-02t03:04:05z", "2024-01-02 03:04:05Z", "2024-01-02T03:04:05+01:00", "2024-01-02T03:04:60Z"],
    "datetime": ["2014-12-15T19:30:20Z"], "k8s-short-name": ["my-name", "a.b"], "k8s-long-name": ["my.name", "-a"], "e-mail": ["a@b.c"], "int-or-string": ["x"], "binary": ["x"],
}
PATTERNS = ["^[a-z]+$", "\\d{2,3}", "^\\w+\\s\\S$", "(?i)^ab|c$", "\\bfoo\\b", "^\\p{L}+$", "^[[:alpha:]]*$", "a{2}", "^(?:a|b)*?$", "\\.", "^.$", "(?s)^.$", "[^\\x00-\\x7F]", "^\\Qa.b\\E$", "\\Aab\\z", "^(?P<n>a)+$", "^[\\w-]+$", "^[\\d.]+$", "\\pN", "(?m)^b$", "^[a\\-z]$", "^\\W$"]
FORMATTED = [{"type": "string", "format": f} for f in FORMATS] + [{"type": "integer", "format": "int32"}, {"type": "integer", "format": "int64"}, {"type": "number", "format": "float"}, {"type": "number", "format": "double"}] + [
    {"type": "string", "pattern": p} for p in PATTERNS]
SOUGHT = ["abc", "foo", "a.b", "aa", "1", "123", "é", "a b", "ab\nb", "A", "ſ", "\n", "٣", "", "x foo y", "C", "_", "a-b", "K", "日本", "-", "b"]


def formatted(schema):
    """A value for a field, most often nearly of its format."""
    if schema["type"] != "string":
        return random.choice([0, -1, 2**31 - 1, 2**31, -2**31 - 1, 2**53, 2**63 - 1, 1.5, 1e39, 3.5e38, 1e308, "x"])
    texts = FORMATS.get(schema.get("format"), SOUGHT)
    text = random.choice(texts if random.random() < 0.85 else TEXTS)
    for _ in range(random.choice([0, 0, 1, 1, 2])):
        i = random.randrange(len(text) + 1)
        how = random.choice(["drop", "insert", "replace"])
        other = random.choice("aFg019-_.:/ %é@<>()#,T+Zz\n\"")
        text = text[:i] + ("" if how == "drop" else other) + text[i + (how != "insert"):]
    return text
