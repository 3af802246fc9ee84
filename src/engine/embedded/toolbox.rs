//! Tools for shells in images that have none, packed from this machine once and kept in the store.

use super::engine::Embedded;
use crate::image::host;
use std::path::PathBuf;

/// The toolbox's directory; `None` where it cannot be packed, and the image's own shell must do.
pub(super) async fn get(engine: &Embedded) -> Option<PathBuf> {
    let packed = engine.toolbox.get_or_try_init(|| async {
        let dir = engine.store.other("toolbox");
        let temporary = engine.store.scratch().map_err(drop)?.join("toolbox");
        let target = dir.clone();
        let pack = move || {
            if !target.join("bin").exists() {
                host::pack_toolbox(&temporary).map_err(drop)?;
                // Another session may have been first; then its toolbox serves as well.
                let _ = std::fs::rename(&temporary, &target);
            }
            Ok(())
        };
        tokio::task::spawn_blocking(pack).await.map_err(drop)??;
        Ok::<PathBuf, ()>(dir)
    });
    packed.await.ok().cloned()
}
