//! Ctrl-C and SIGTERM: the first asks the run to save and stop, the second ends the program at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Whether, and by which signal, the program was asked to stop.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    stop: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Installs the handlers.
    pub fn install() -> anyhow::Result<Self> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM] {
            // The shutdown is registered first: it acts only when an earlier signal has set the flag.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&interrupt.stop))
                .and_then(|_| flag::register_usize(signal, Arc::clone(&interrupt.signal), signal as usize))
                .and_then(|_| flag::register(signal, Arc::clone(&interrupt.stop)))
                .context("cannot install the handlers for Ctrl-C and SIGTERM")?;
        }
        Ok(interrupt)
    }

    /// Becomes true with the first signal.
    pub fn flag(&self) -> &AtomicBool {
        &self.stop
    }

    /// The exit code of a program ended by that signal: 130 for Ctrl-C, 143 for SIGTERM.
    pub fn exit_code(&self) -> u8 {
        128 + u8::try_from(self.signal.load(Ordering::Relaxed)).unwrap_or(SIGTERM as u8)
    }
}
