//! The files that come with the program (embedded by `build.rs`).

include!(concat!(env!("OUT_DIR"), "/bundled.rs"));
