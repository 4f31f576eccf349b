//! Compiled code on disk, so that a start takes milliseconds.
//!
//! Loading compiled code is running it: the directory must be private to our user, files are named by the hash of the
//! component and of everything in wasmtime that the code depends on, are written once and never change, and compiled
//! code is never accepted from operators or plugin authors.

use std::fs;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};

use wasmtime::component::Component;

use super::error::EngineError;

/// A private directory of compiled components.
pub(super) struct CodeCache {
    directory: PathBuf,
    compatibility: String,
}

impl CodeCache {
    /// Opens a directory, and makes it if it is absent.
    pub(super) fn open(directory: PathBuf, engine: &wasmtime::Engine) -> Result<Self, EngineError> {
        let in_directory = |source| EngineError::Cache {
            directory: directory.clone(),
            source,
        };
        fs::create_dir_all(&directory).map_err(in_directory)?;
        make_private(&directory).map_err(in_directory)?;
        Ok(Self {
            directory,
            compatibility: compatibility(engine),
        })
    }

    /// The compiled form of `bytes`, compiled now if it is not there. A cache that fails costs time, nothing else.
    pub(super) fn load(
        &self,
        engine: &wasmtime::Engine,
        bytes: &[u8],
    ) -> wasmtime::Result<Component> {
        let digest = blake3::hash(bytes).to_hex();
        let path = self
            .directory
            .join(format!("{digest}-{}.cwasm", self.compatibility));
        if path.exists() {
            match deserialize(engine, &path) {
                Ok(component) => return Ok(component),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "compiled code is unreadable; compiling again");
                    let _ = fs::remove_file(&path);
                }
            }
        }
        let compiled = engine.precompile_component(bytes)?;
        match self.write(&path, &compiled) {
            Ok(()) => deserialize(engine, &path),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "compiled code cannot be kept");
                Component::from_binary(engine, bytes)
            }
        }
    }

    fn write(&self, path: &Path, compiled: &[u8]) -> std::io::Result<()> {
        let temporary = self
            .directory
            .join(format!("{:032x}.tmp", rand::random::<u128>()));
        let written = fs::File::create_new(&temporary)
            .and_then(|mut file| file.write_all(compiled).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

#[expect(
    unsafe_code,
    reason = "compiled code can be loaded in no other way; see the module's first lines"
)]
fn deserialize(engine: &wasmtime::Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file was written by `write` from the compiler's output, under a name that holds the hash of its
    // source, in a directory that only our user can write to, and nobody changes it after the rename.
    unsafe { Component::deserialize_file(engine, path) }
}

/// Everything that compiled code depends on besides its source: wasmtime's version and settings, and the CPU.
fn compatibility(engine: &wasmtime::Engine) -> String {
    struct Digest(blake3::Hasher);
    impl Hasher for Digest {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            self.0
                .finalize()
                .as_bytes()
                .iter()
                .fold(0, |sum, byte| sum.rotate_left(8) ^ u64::from(*byte))
        }
    }
    let mut digest = Digest(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut digest);
    digest.0.finalize().to_hex().chars().take(16).collect()
}

#[cfg(unix)]
fn make_private(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let metadata = fs::metadata(directory)?;
    // A directory of ours is as private as we make it; we cannot change the mode of one that is not ours.
    let ours = fs::metadata("/proc/self").map_or(true, |process| process.uid() == metadata.uid());
    if !ours {
        return Err(std::io::Error::new(
            std::io::ErrorKind::PermissionDenied,
            "it belongs to another user",
        ));
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn make_private(_: &Path) -> std::io::Result<()> {
    Ok(())
}
