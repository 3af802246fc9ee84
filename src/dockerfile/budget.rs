//! How much may be made of one Dockerfile. A few lines of it can ask for any amount.

use super::command::Fault;
use std::cell::Cell;

/// Bytes of everything that is made of the text: expanded words, and what is kept with them.
const MAX_BYTES: usize = 128 << 20;

/// What is left of [`MAX_BYTES`].
#[derive(Debug)]
pub struct Budget(Cell<usize>);

impl Default for Budget {
    fn default() -> Self {
        Budget(Cell::new(MAX_BYTES))
    }
}

impl Budget {
    pub fn take(&self, bytes: usize) -> Result<(), Fault> {
        let left = self.0.get().checked_sub(bytes).ok_or_else(|| {
            let limit = MAX_BYTES >> 20;
            Fault::new("too-large", format!("the variables of this build grow beyond {limit} MB here"), "")
                .help("every instruction keeps the environment it runs with: set fewer or shorter variables")
        })?;
        self.0.set(left);
        Ok(())
    }
}
