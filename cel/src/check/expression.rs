//! Expressions that are compiled: read and checked once, asked often.

use super::{Checked, Environment, checked};
use crate::cost::{self, Shape};
use crate::parse::Expr;
use crate::types::Type;
use crate::{CelError, eval};

/// An expression whose types fit.
pub struct Expression {
    root: Box<Expr>,
    checked: Checked,
}

impl Expression {
    /// Reads and checks it.
    ///
    /// # Errors
    /// As [`super::check`].
    pub fn compile(text: &str, environment: &Environment) -> Result<Self, CelError> {
        let (root, checked) = checked(text, environment)?;
        Ok(Self { root, checked })
    }

    /// The type of its value.
    #[must_use]
    pub fn value_type(&self) -> &Type {
        &self.checked.of
    }

    /// The most that it may cost where what it names is of this shape.
    #[must_use]
    pub fn cost(&self, shape: &Shape) -> u64 {
        cost::most(&self.root, &self.checked, shape)
    }

    /// Whether it names something of this name.
    #[must_use]
    pub fn mentions(&self, name: &str) -> bool {
        self.root.mentions(name)
    }

    /// Works out the conversions of its constants, as is done once before anything is evaluated.
    ///
    /// # Errors
    /// [`CelError::Constant`] for the first that has no value.
    pub fn instantiate(&self) -> Result<(), CelError> {
        match eval::constants(&self.root) {
            Err(why) => Err(CelError::Constant(why.to_string())),
            Ok(_) => Ok(()),
        }
    }
}
