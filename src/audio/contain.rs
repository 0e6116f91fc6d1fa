//! Runs foreign code so that its panic is an answer, not an end.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

static QUIET_HOOK: Once = Once::new();

/// The result of `work`, or nothing when it panicked. The panic's message reaches neither the terminal nor the
/// user: a hook, installed once before the one already there, keeps quiet about threads inside this function.
pub(crate) fn contained<T>(work: impl FnOnce() -> T) -> Option<T> {
    QUIET_HOOK.call_once(|| {
        let previous = take_hook();
        set_hook(Box::new(move |panic| {
            if !is_contained() {
                previous(panic);
            }
        }));
    });
    let outer = CONTAINED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work)).ok();
    CONTAINED.set(outer);
    result
}

fn is_contained() -> bool {
    CONTAINED.try_with(Cell::get).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_nothing_and_a_result_stays() {
        assert_eq!(contained(|| 3), Some(3));
        assert_eq!(contained(|| [1, 2, 3].into_iter().position(|x| x == 4).unwrap()), None);
    }

    #[test]
    fn only_the_thread_inside_is_quiet() {
        assert!(!is_contained());
        contained(|| {
            assert!(is_contained());
            contained(|| panic!("inner"));
            assert!(is_contained(), "the outer one still holds");
            assert!(!std::thread::spawn(is_contained).join().unwrap());
        })
        .unwrap();
        assert!(!is_contained());
    }
}
