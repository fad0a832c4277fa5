//! The embedded object: loading it, and making inner maps that fit its outer maps.

use super::{KernelError, raw};
use aya::{Ebpf, EbpfLoader, maps::MapData};
use enforcer_common::control::Settings;
use std::{
    collections::HashMap,
    os::fd::{AsFd as _, OwnedFd},
};

/// The kernel programs, built by `build.rs`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/enforcer-ebpf"));

/// Loads the maps, with the settings as constants.
pub(super) fn load(settings: &Settings) -> Result<Ebpf, KernelError> {
    EbpfLoader::new()
        .override_global("SETTINGS", raw::bytes_of(settings), true)
        .load(OBJECT)
        .map_err(|error| KernelError::Object(describe(&error)))
}

/// Makes inner maps. An inner map must be created like the prototype in the object, its BTF included, or Linux 6.1 answers
/// EINVAL when it is put into the outer map (`kernel/bpf/map_in_map.c` `bpf_map_meta_equal`).
pub(super) struct InnerMaps {
    prototypes: HashMap<String, aya_obj::Map>,
    btf: OwnedFd,
}

impl InnerMaps {
    /// The inner maps of a loaded object; at least one of its programs must be loaded, it leads to the BTF.
    pub(super) fn of(ebpf: &Ebpf) -> Result<Self, KernelError> {
        let object =
            aya_obj::Object::parse(OBJECT).map_err(|error| KernelError::Object(error.to_string()))?;
        let prototypes =
            object.maps.into_iter().filter_map(|(name, map)| Some((name, map.inner()?))).collect();
        let id = ebpf
            .programs()
            .find_map(|(_, program)| program.info().ok()?.btf_id())
            .ok_or_else(|| KernelError::Object("no loaded program has BTF".to_owned()))?;
        let btf =
            raw::btf_by_id(id).map_err(|source| KernelError::Map { map: "BTF", action: "open", source })?;
        Ok(Self { prototypes, btf })
    }

    /// A new inner map for `outer` with room for `entries`.
    pub(super) fn create(&self, outer: &'static str, entries: u32) -> Result<MapData, KernelError> {
        let mut map = self
            .prototypes
            .get(outer)
            .cloned()
            .ok_or_else(|| KernelError::Object(format!("no inner map is declared for `{outer}`")))?;
        map.set_max_entries(entries.max(1));
        MapData::create(map, outer, Some(self.btf.as_fd()))
            .map_err(|error| KernelError::Object(describe(&error)))
    }
}

/// The error with its causes on one line.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
