use super::Step;
use crate::image::digest::Digest;
pub fn parts(step: &Step, parent: Option<&str>, inputs: &[String]) -> Vec<(String, String)> {
    let mut parts =
        vec![("parent".to_owned(), parent.unwrap_or("").to_owned()), ("op".to_owned(), format!("{:?}", step.op))];
    parts.extend(inputs.iter().map(|it| ("content".to_owned(), it.clone())));
    parts
}
pub fn digest(parts: &[(String, String)]) -> Digest {
    Digest::of(format!("{parts:?}").as_bytes())
}
