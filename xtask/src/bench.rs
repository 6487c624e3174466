//! placeholder
use anyhow::Result;
pub(crate) fn main(_: &[String]) -> Result<()> {
    Ok(())
}
