//! A Dockerfile and options, lowered to a plan: the only code that does it.

use super::{Options, Plan};
use crate::dockerfile::{Diagnostic, Dockerfile};
use crate::image::config::ImageConfig;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The images whose configuration [`lower`] needs, named as expanded: bases of the stages that run.
pub fn bases(_dockerfile: &Dockerfile, _options: &Options) -> Result<Vec<String>, Vec<Diagnostic>> {
    Ok(Vec::new())
}

/// Makes the plan. `bases` holds a configuration for every name that [`bases`] gave.
pub fn lower(
    _dockerfile: Arc<Dockerfile>,
    _options: &Options,
    _bases: &BTreeMap<String, ImageConfig>,
) -> Result<Plan, Vec<Diagnostic>> {
    Err(Vec::new())
}
