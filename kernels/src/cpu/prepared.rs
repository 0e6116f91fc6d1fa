//! What layers made of their weights, kept from one call of a network to the next.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use burn::module::ParamId;

use crate::Precision;
use crate::cpu::fused::Fused;

/// What is kept: of which layer, with what behind it, for which loops.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The weights.
    pub weight: ParamId,
    /// The scale of batch normalisation in front of the ReLU and behind it.
    pub norms: [Option<ParamId>; 2],
    /// Whether negative results become zero.
    pub relu: bool,
    /// What is multiplied.
    pub precision: Precision,
    /// Whether Winograd's way suits the size of the map.
    pub winograd: bool,
}

/// One for each network.
#[derive(Debug, Default)]
pub struct Kept(Mutex<HashMap<Key, Arc<Fused>>>);

thread_local! {
    /// That of the network that runs on this thread.
    static CURRENT: RefCell<Option<Arc<Kept>>> = const { RefCell::new(None) };
}

/// Runs `forward` with what is kept.
pub fn with<R>(kept: &Arc<Kept>, forward: impl FnOnce() -> R) -> R {
    /// Puts back what was there, also when `forward` panics.
    struct Before(Option<Arc<Kept>>);
    impl Drop for Before {
        fn drop(&mut self) {
            CURRENT.replace(self.0.take());
        }
    }
    let _before = Before(CURRENT.replace(Some(kept.clone())));
    forward()
}

/// Whether a network runs that keeps something.
pub fn keeps() -> bool {
    CURRENT.with_borrow(Option::is_some)
}

/// What is kept under `key`, or what `make` gives, which is kept if a network runs that keeps something.
pub fn get(key: Key, make: impl FnOnce() -> Fused) -> Arc<Fused> {
    let Some(kept) = CURRENT.with_borrow(Clone::clone) else { return Arc::new(make()) };
    let lock = || kept.0.lock().unwrap_or_else(PoisonError::into_inner);
    let found = lock().get(&key).cloned();
    // Made without the lock: it takes time, and another thread needs other layers. The first one made stays.
    found.unwrap_or_else(|| {
        let made = Arc::new(make());
        lock().entry(key).or_insert(made).clone()
    })
}
