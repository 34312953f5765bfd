//! Scripts as trees, and which programs they run.

/// A part of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Text {
        text: String,
        quoted: bool,
    },
    /// `$name`, `${name}` and `${name<op>word}` with the operators `:-`, `-`, `:?`, `?`, `:+` and `+`.
    Variable {
        name: String,
        op: Option<(String, Word)>,
        quoted: bool,
    },
    Output {
        of: Box<Command>,
        quoted: bool,
    },
    Arithmetic(Word),
}

pub(crate) type Word = Vec<Part>;

/// Where a stream of a command goes or comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Redirect {
    Input(Word),
    Output { fd: u8, to: Word, append: bool },
    Duplicate { fd: u8, from: u8 },
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Simple {
        assigns: Vec<(String, Word)>,
        words: Vec<Word>,
        redirects: Vec<Redirect>,
    },
    Pipeline(Vec<Command>),
    Not(Box<Command>),
    /// The first one, then each with whether it needs success (`&&`) or failure (`||`) before it.
    Chain(Box<Command>, Vec<(bool, Command)>),
    Sequence(Vec<Command>),
    If {
        arms: Vec<(Command, Command)>,
        otherwise: Option<Box<Command>>,
    },
    Loop {
        until: bool,
        condition: Box<Command>,
        body: Box<Command>,
    },
    For {
        name: String,
        words: Vec<Word>,
        body: Box<Command>,
    },
    Group {
        body: Box<Command>,
        apart: bool,
        redirects: Vec<Redirect>,
    },
}

/// The text of a word that is one unquoted text.
pub(super) fn plain(w: &Word) -> Option<&str> {
    match w.as_slice() {
        [Part::Text { text, quoted: false }] => Some(text),
        _ => None,
    }
}

impl Command {
    /// The names of the programs that it may run; `None` when one is only known when it runs.
    pub(crate) fn programs(&self) -> Option<Vec<String>> {
        let mut all = Vec::new();
        self.collect(&mut all).then_some(all)
    }

    fn collect(&self, all: &mut Vec<String>) -> bool {
        let words = |ws: &[Word], all: &mut Vec<String>| ws.iter().flatten().all(|p| part(p, all));
        match self {
            Self::Simple {
                assigns,
                words: ws,
                redirects,
            } => {
                match ws.first() {
                    None => {}
                    Some(w) => match plain(w) {
                        Some(name) => all.push(name.to_owned()),
                        None => return false,
                    },
                }
                words(ws, all)
                    && assigns.iter().all(|(_, w)| words(std::slice::from_ref(w), all))
                    && redirects.iter().all(|r| match r {
                        Redirect::Input(w) | Redirect::Output { to: w, .. } => words(std::slice::from_ref(w), all),
                        Redirect::Duplicate { .. } => true,
                    })
            }
            Self::Pipeline(c) | Self::Sequence(c) => c.iter().all(|c| c.collect(all)),
            Self::Not(c) | Self::Group { body: c, .. } => c.collect(all),
            Self::Chain(first, rest) => first.collect(all) && rest.iter().all(|(_, c)| c.collect(all)),
            Self::If { arms, otherwise } => {
                arms.iter().all(|(c, b)| c.collect(all) && b.collect(all))
                    && otherwise.as_ref().is_none_or(|c| c.collect(all))
            }
            Self::Loop { condition, body, .. } => condition.collect(all) && body.collect(all),
            Self::For { words: ws, body, .. } => words(ws, all) && body.collect(all),
        }
    }
}

fn part(p: &Part, all: &mut Vec<String>) -> bool {
    match p {
        Part::Text { .. } => true,
        // Nothing here is random.
        Part::Variable { name, .. } if name == "RANDOM" => false,
        Part::Variable { op, .. } => op.as_ref().is_none_or(|(_, w)| w.iter().all(|p| part(p, all))),
        Part::Output { of, .. } => of.collect(all),
        Part::Arithmetic(w) => w.iter().all(|p| part(p, all)),
    }
}
