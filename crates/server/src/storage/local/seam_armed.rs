//! The seam under test: counts system calls and fails the one that was planned.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::call::Call;

pub(super) struct Seam {
    plan: Mutex<Plan>,
}

#[derive(Default)]
struct Plan {
    seen: Vec<Call>,
    fail: Option<(usize, i32)>,
}

impl Seam {
    pub(super) fn new() -> Self {
        Self { plan: Mutex::default() }
    }

    pub(super) fn pass(&self, call: Call) -> io::Result<()> {
        let mut plan = self.plan();
        let nth = plan.seen.len();
        plan.seen.push(call);
        match plan.fail {
            Some((at, errno)) if at == nth => Err(io::Error::from_raw_os_error(errno)),
            _ => Ok(()),
        }
    }

    /// Counts anew and fails the `nth` call (from 0), if one is given.
    pub(super) fn arm(&self, fail: Option<(usize, i32)>) {
        *self.plan() = Plan { seen: Vec::new(), fail };
    }

    /// The calls since it was armed.
    pub(super) fn seen(&self) -> Vec<Call> {
        self.plan().seen.clone()
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
