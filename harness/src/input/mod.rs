//! Files that people write: where each value stands in its file, and what is wrong with it, told with line, column,
//! what was expected and the nearest valid name.

mod at;
mod nearest;
mod problem;
mod quantity;
mod source;

pub use at::At;
pub use nearest::nearest;
pub use problem::{Problem, Problems};
pub use quantity::{Delay, Length, Percent, Rate, parse_duration, show_duration};
pub use source::{Source, parse, parse_documents};
