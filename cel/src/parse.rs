//! From tokens to a tree.

use super::lex::{Kind, Token, tokens};
use super::room::with_room;
use super::value::Value;
use super::{CelError, RESERVED, antlr, source};

/// An expression, and the byte that errors about it point at: a name's first, an operator's, a call's bracket.
#[derive(Debug, Clone)]
pub(super) struct Expr {
    pub(super) at: usize,
    /// Of it and the parts in one another below it, how many of those that [`HEIGHT`] is about there are at most.
    height: usize,
    pub(super) what: What,
}

/// What an expression is.
#[derive(Debug, Clone)]
pub(super) enum What {
    Literal(Value),
    Name(String),
    /// `operand.field`, and whether an absent one is fine (`.?`).
    Select(Box<Expr>, String, bool),
    /// `operand[index]`, and whether an absent one is fine (`[?`).
    Index(Box<Expr>, Box<Expr>, bool),
    /// `target.name(args)` or `name(args)`.
    Call(Option<Box<Expr>>, String, Vec<Expr>),
    /// Elements, each with whether an empty optional leaves it out.
    List(Vec<(Expr, bool)>),
    /// Entries, as in lists.
    Map(Vec<(Expr, Expr, bool)>),
    /// `Type{field: value}`, each with the place of its colon; evaluation needs no type, as it is known from where the
    /// object goes.
    Struct(String, Vec<(String, Expr, bool, usize)>),
    Unary(char, Box<Expr>),
    Binary(&'static str, Box<Expr>, Box<Expr>),
    Condition(Box<Expr>, Box<Expr>, Box<Expr>),
}

/// Nesting allowed: brackets and signs (cel-go counts differently, to 250).
const DEPTH: usize = 160;
/// How many chosen parts, calls on something, operators and conditions may be in one another: a chain of them is as deep as
/// it is long, and whoever reads it calls itself as often (cel-go's limit of recursion, of the visitor).
const HEIGHT: usize = 250;
/// Operators and how tightly they bind.
const OPERATORS: [(&str, usize); 14] = [
    ("||", 0),
    ("&&", 1),
    ("==", 2),
    ("!=", 2),
    ("<=", 2),
    (">=", 2),
    ("<", 2),
    (">", 2),
    ("in", 2),
    ("+", 3),
    ("-", 3),
    ("*", 4),
    ("/", 4),
    ("%", 4),
];
/// Words that are no names even of fields.
const WORDS: [&str; 4] = ["true", "false", "null", "in"];
/// Most characters of an expression.
const LENGTH: usize = 100_000;
/// What is told of a name in backquotes.
const UNSUPPORTED: &str = "unsupported syntax: '`'";

/// Macros over a list or map: the first arguments are names.
pub(super) const MACROS: [&str; 10] = [
    "all",
    "exists",
    "exists_one",
    "existsOne",
    "map",
    "filter",
    "sortBy",
    "transformList",
    "transformMap",
    "transformMapEntry",
];

pub(super) fn parse(text: &str) -> Result<Expr, CelError> {
    let length = text.chars().count();
    if length > LENGTH {
        let why = format!("expression code point size exceeds limit: size: {length}, limit {LENGTH}");
        return Err(nowhere(&why));
    }
    read(text).map_err(|own| {
        // What is wrong is told as ANTLR's parser tells it.
        match told(text, &antlr::errors(text)) {
            Some(all) => all,
            None => own,
        }
    })
}

/// An error that is of no place.
fn nowhere(message: &str) -> CelError {
    CelError::Types(format!("ERROR: <input>:-1:0: {message}"))
}

/// All that is wrong, by its places; what has none comes first.
pub(super) fn told(text: &str, errors: &[(Option<usize>, String)]) -> Option<CelError> {
    let one = |(at, message): &(Option<usize>, String)| match at {
        Some(at) => source::told(text, *at, message),
        None => format!("ERROR: <input>:-1:0: {message}"),
    };
    let all: Vec<String> = errors.iter().map(one).collect();
    (!all.is_empty()).then(|| CelError::Types(all.join("\n")))
}

pub(super) fn read(text: &str) -> Result<Expr, CelError> {
    let mut p = Parser {
        text,
        tokens: tokens(text)?,
        next: 0,
        depth: 0,
        wrong: Vec::new(),
    };
    let e = p.expression()?;
    if *p.peek() != Kind::End {
        return Err(p.unexpected("<EOF>"));
    }
    p.wrong.sort_by_key(|(at, _)| *at);
    match told(text, &p.wrong) {
        Some(wrong) => Err(wrong),
        None => Ok(e),
    }
}

/// What cel-go tells of what is nested too deep.
fn deep() -> CelError {
    nowhere(&format!("expression recursion limit exceeded: {HEIGHT}"))
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
    /// What is wrong with what can be read.
    wrong: Vec<(Option<usize>, String)>,
}

type Parsed = Result<Expr, CelError>;

impl Parser<'_> {
    fn peek(&self) -> &Kind {
        &self.tokens[self.next].what
    }

    fn at(&self) -> usize {
        self.tokens[self.next].at
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Kind::Sign(s) if *s == sign)
    }

    fn take(&mut self, sign: &str) -> bool {
        let yes = self.is(sign);
        if yes {
            self.next += 1;
        }
        yes
    }

    fn expect(&mut self, sign: &str) -> Result<(), CelError> {
        if self.take(sign) {
            Ok(())
        } else {
            Err(self.unexpected(sign))
        }
    }

    fn unexpected(&self, wanted: &str) -> CelError {
        let t = &self.tokens[self.next];
        let seen = match &t.what {
            Kind::End => "<EOF>".to_owned(),
            Kind::Sign(s) => (*s).to_owned(),
            Kind::Name(n) | Kind::Escaped(n) => n.clone(),
            Kind::Text(s) => format!("{s:?}"),
            other => format!("{other:?}"),
        };
        CelError::Syntax {
            at: t.at,
            detail: match wanted {
                // One token too many is passed over.
                "<EOF>" if matches!(self.tokens.get(self.next + 1), Some(t) if t.what == Kind::End) => {
                    format!("Syntax error: extraneous input '{seen}' expecting <EOF>")
                }
                "<EOF>" => format!("Syntax error: mismatched input '{seen}' expecting <EOF>"),
                _ => format!("Syntax error: mismatched input '{seen}' expecting '{wanted}'"),
            },
            source_text: self.text.to_owned(),
        }
    }

    /// The same expression, where it is not too deep for those who read it.
    fn readable(&self, e: Expr) -> Parsed {
        if e.height <= HEIGHT {
            return Ok(e);
        }
        Err(nowhere("max recursion depth exceeded"))
    }

    /// Operands of `&&` or `||`, of which there may be many: halved, they are as deep as they must be, and mean the same
    /// (cel-go's `balancer`).
    fn balanced(operator: &'static str, terms: &mut Vec<(usize, Expr)>) -> Option<Expr> {
        let right = terms.split_off(terms.len().div_ceil(2));
        let (at, first) = match right.first() {
            None => return terms.pop().map(|(_, e)| e),
            Some((at, _)) => (*at, right),
        };
        let (mut left, mut right) = (std::mem::take(terms), first);
        let (left, right) = (
            Self::balanced(operator, &mut left)?,
            Self::balanced(operator, &mut right)?,
        );
        Some(What::Binary(operator, Box::new(left), Box::new(right)).placed(at))
    }

    fn deeper<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T, CelError>) -> Result<T, CelError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(deep());
        }
        let r = with_room(|| f(self));
        self.depth -= 1;
        r
    }

    fn expression(&mut self) -> Parsed {
        self.deeper(|p| {
            let condition = p.binary(0)?;
            let at = p.at();
            if !p.take("?") {
                return Ok(condition);
            }
            let yes = p.binary(0)?;
            p.expect(":")?;
            let no = p.expression()?;
            p.readable(What::Condition(Box::new(condition), Box::new(yes), Box::new(no)).placed(at))
        })
    }

    /// Operators that bind at least as tightly as `least`, all of them from the left (precedence climbing).
    fn binary(&mut self, least: usize) -> Parsed {
        let mut left = self.unary()?;
        loop {
            let found = OPERATORS.iter().find(|(o, _)| match self.peek() {
                Kind::Sign(s) => s == o,
                Kind::Name(n) => n == o,
                _ => false,
            });
            let Some((o, level)) = found.filter(|(_, l)| *l >= least) else {
                return Ok(left);
            };
            let at = self.at();
            self.next += 1;
            let right = self.binary(level + 1)?;
            if !matches!(*o, "&&" | "||") {
                left = self.readable(What::Binary(o, Box::new(left), Box::new(right)).placed(at))?;
                continue;
            }
            let mut terms = vec![(at, left), (at, right)];
            while self.is(o) {
                let at = self.at();
                self.next += 1;
                terms.push((at, self.binary(level + 1)?));
            }
            // There are two at least.
            left = match Self::balanced(o, &mut terms) {
                Some(e) => self.readable(e)?,
                None => return Err(self.unexpected(o)),
            };
        }
    }

    /// Signs before a value; a number has a minus of its own.
    fn unary(&mut self) -> Parsed {
        self.deeper(|p| {
            let at = p.at();
            for (sign, shown) in [("!", '!'), ("-", '-')] {
                if !p.is(sign) || sign == "-" && p.is_signed(1) {
                    continue;
                }
                let mut odd = false;
                while p.take(sign) {
                    odd = !odd;
                }
                let of = p.member()?;
                return Ok(if odd {
                    What::Unary(shown, Box::new(of)).placed(at)
                } else {
                    of
                });
            }
            p.member()
        })
    }

    /// Whether a number that may have a sign stands `after` tokens further on.
    fn is_signed(&self, after: usize) -> bool {
        let what = self.tokens.get(self.next + after).map(|t| &t.what);
        matches!(
            what,
            Some(Kind::Int(_) | Kind::Double(_) | Kind::Least | Kind::Wrong(true, _))
        )
    }

    fn member(&mut self) -> Parsed {
        let mut e = self.primary()?;
        loop {
            let at = self.at();
            let what = if self.take(".") {
                let optional = self.take("?");
                let escaped = matches!(self.peek(), Kind::Escaped(_));
                let name = self.name()?;
                let open = self.at();
                if !optional && !escaped && self.take("(") {
                    let args = self.arguments()?;
                    e = self.readable(What::Call(Some(Box::new(e)), name, args).placed(open))?;
                    continue;
                }
                What::Select(Box::new(e), name, optional)
            } else if self.take("[") {
                let optional = self.take("?");
                let index = self.expression()?;
                self.expect("]")?;
                What::Index(Box::new(e), Box::new(index), optional)
            } else {
                return Ok(e);
            };
            e = self.readable(what.placed(at))?;
        }
    }

    fn name(&mut self) -> Result<String, CelError> {
        match self.peek() {
            Kind::Name(n) if !WORDS.contains(&n.as_str()) => {
                let n = n.clone();
                self.next += 1;
                Ok(n)
            }
            Kind::Escaped(n) => {
                let n = n.clone();
                // Kubernetes does not allow them.
                self.tell(self.at(), UNSUPPORTED.to_owned());
                self.next += 1;
                Ok(n)
            }
            _ => Err(self.unexpected("IDENTIFIER")),
        }
    }

    fn tell(&mut self, at: usize, message: String) {
        self.wrong.push((Some(at), message));
    }

    /// Up to and with `)`.
    fn arguments(&mut self) -> Result<Vec<Expr>, CelError> {
        let mut list = Vec::new();
        if self.take(")") {
            return Ok(list);
        }
        loop {
            list.push(self.expression()?);
            if !self.take(",") {
                self.expect(")")?;
                return Ok(list);
            }
        }
    }

    /// Takes what ends a list that has nothing in it, or a comma and that.
    fn nothing(&mut self, close: &str) -> Result<bool, CelError> {
        if self.take(",") {
            self.expect(close)?;
            return Ok(true);
        }
        Ok(self.take(close))
    }

    fn fields(&mut self) -> Result<Vec<(String, Expr, bool, usize)>, CelError> {
        let mut list = Vec::new();
        if self.nothing("}")? {
            return Ok(list);
        }
        let start = self.at();
        while !self.take("}") {
            let optional = self.take("?");
            let escaped = matches!(self.peek(), Kind::Escaped(_));
            let name = self.name()?;
            let colon = self.at();
            self.expect(":")?;
            let told = self.wrong.len();
            list.push((name, self.expression()?, optional, colon));
            if escaped {
                // It is told of all fields together, and its value is not looked at.
                self.wrong.truncate(told.saturating_sub(1));
                self.tell(start, UNSUPPORTED.to_owned());
            }
            if !self.take(",") && !self.is("}") {
                return Err(self.unexpected("}"));
            }
        }
        Ok(list)
    }

    fn primary(&mut self) -> Parsed {
        // A leading dot says that the name is an absolute one.
        let absolute = match self.tokens.get(self.next + 1).map(|t| &t.what) {
            Some(Kind::Name(n)) if self.is(".") && !WORDS.contains(&n.as_str()) => Some(self.at()),
            _ => None,
        };
        self.next += usize::from(absolute.is_some());
        let (start, mut at) = (self.next, self.at());
        let negative = self.is("-") && self.is_signed(1);
        self.next += usize::from(negative);
        let token = self.tokens[self.next].what.clone();
        self.next += 1;
        let what = match token {
            Kind::Int(n) => What::Literal(Value::Int(if negative { -n } else { n })),
            Kind::Uint(n) => What::Literal(Value::Uint(n)),
            Kind::Double(n) => What::Literal(Value::Double(if negative { -n } else { n })),
            Kind::Least if negative => What::Literal(Value::Int(i64::MIN)),
            Kind::Least => {
                self.tell(at, "invalid int literal".to_owned());
                What::Literal(Value::Int(0))
            }
            Kind::Wrong(_, why) => {
                self.tell(at, why.to_owned());
                What::Literal(Value::Null)
            }
            Kind::Text(s) => What::Literal(Value::text(&s)),
            Kind::Bytes(b) => What::Literal(Value::Bytes(b.into())),
            Kind::Name(n) => match n.as_str() {
                "true" => What::Literal(Value::Bool(true)),
                "false" => What::Literal(Value::Bool(false)),
                "null" => What::Literal(Value::Null),
                "in" => {
                    self.next = start;
                    return Err(self.unexpected("expression"));
                }
                n if self.is_message() => {
                    let dot = if absolute.is_some() { "." } else { "" };
                    let mut name = format!("{dot}{n}");
                    while self.take(".") {
                        name = format!("{name}.{}", self.name()?);
                    }
                    at = self.at();
                    self.expect("{")?;
                    What::Struct(name, self.fields()?)
                }
                n if RESERVED.contains(&n) => {
                    self.tell(absolute.unwrap_or(at), format!("reserved identifier: {n}"));
                    if self.take("(") {
                        self.arguments()?;
                    }
                    What::Literal(Value::Null)
                }
                _ => {
                    let dot = if absolute.is_some() { "." } else { "" };
                    let name = format!("{dot}{n}");
                    if self.is("(") {
                        at = self.at();
                        self.next += 1;
                        What::Call(None, name, self.arguments()?)
                    } else {
                        What::Name(name)
                    }
                }
            },
            Kind::Sign("(") => {
                let e = self.expression()?;
                self.expect(")")?;
                return Ok(e);
            }
            Kind::Sign("[") => {
                let mut list = Vec::new();
                let empty = self.nothing("]")?;
                while !empty && !self.take("]") {
                    let optional = self.take("?");
                    list.push((self.expression()?, optional));
                    if !self.take(",") && !self.is("]") {
                        return Err(self.unexpected("]"));
                    }
                }
                What::List(list)
            }
            Kind::Sign("{") => {
                let mut list = Vec::new();
                let empty = self.nothing("}")?;
                while !empty && !self.take("}") {
                    let optional = self.take("?");
                    let key = self.expression()?;
                    self.expect(":")?;
                    list.push((key, self.expression()?, optional));
                    if !self.take(",") && !self.is("}") {
                        return Err(self.unexpected("}"));
                    }
                }
                What::Map(list)
            }
            _ => {
                self.next = start;
                return Err(self.unexpected("expression"));
            }
        };
        Ok(what.placed(at))
    }
}

impl Parser<'_> {
    /// Whether the name before the next token begins that of a message's type.
    fn is_message(&self) -> bool {
        let mut rest = self.tokens[self.next..].iter().map(|t| &t.what);
        loop {
            match rest.next() {
                Some(Kind::Sign("{")) => return true,
                Some(Kind::Sign(".")) if matches!(rest.next(), Some(Kind::Name(n)) if !WORDS.contains(&n.as_str())) => {
                }
                _ => return false,
            }
        }
    }
}

impl What {
    fn placed(self, at: usize) -> Expr {
        let counts = match &self {
            Self::Select(..) | Self::Index(..) | Self::Call(Some(_), ..) | Self::Condition(..) => true,
            Self::Binary(operator, ..) => !matches!(*operator, "&&" | "||"),
            _ => false,
        };
        let mut e = Expr {
            at,
            height: usize::from(counts),
            what: self,
        };
        e.height += e.children().into_iter().map(|c| c.height).max().unwrap_or(0);
        e
    }
}
