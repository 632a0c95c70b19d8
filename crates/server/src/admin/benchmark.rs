//! Benchmarks of the two arms over the network that the administrator is on: real transfers of bytes that mean nothing.
//!
//! An upload takes the whole durable way and is removed again; a download sends zeros that lie nowhere. Few run at once,
//! so that they measure the path and not each other.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use hfs_core::auth::Administrator;
use hfs_core::pace::{Direction, Plan};
use hfs_core::{BlobId, ByteSize, SlotPath};
use http::Request;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::blank::Blank;
use super::{AdminError, Report};
use crate::app::App;
use crate::clock;
use crate::flow::{Ending, Flow, Left};
use crate::http::context::Context;
use crate::http::exchange::Incoming;
use crate::random::random;
use crate::upload::{self, Rehearsed};

/// The most that one benchmark moves.
const MOST: ByteSize = ByteSize::gib(1);
/// What a download moves when nothing is said.
const USUAL: ByteSize = ByteSize::mib(16);
/// How many run at once, and how many reports are remembered.
const AT_ONCE: usize = 2;
const KEPT: usize = 64;

/// What benchmarks share.
#[derive(Debug)]
pub struct Bench {
    places: Arc<Semaphore>,
    reports: Mutex<VecDeque<Report>>,
}

impl Default for Bench {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)), reports: Mutex::default() }
    }
}

impl Bench {
    /// The last reports, newest last.
    #[must_use]
    pub fn results(&self) -> Vec<Report> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn keep(&self, report: Report) {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        if reports.len() == KEPT {
            reports.pop_front();
        }
        reports.push_back(report);
    }

    fn begin(&self) -> Result<OwnedSemaphorePermit, AdminError> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| AdminError::Crowded)
    }
}

/// Receives the body of `request` as an upload of the context's arm.
pub(super) async fn upload(
    app: &Arc<App>,
    context: &mut Context,
    administrator: &Administrator,
    request: Request<Incoming>,
) -> Result<Report, AdminError> {
    let _place = app.bench().begin()?;
    let cpu = clock::cpu();
    // `SlotPath` takes anything of this shape: 32 digits and a word.
    let slot =
        SlotPath::parse(&format!("{}/benchmark", BlobId::from_random(random()))).map_err(upload::PutError::from)?;
    let grant = administrator.rehearse(slot);
    let Rehearsed { bytes, elapsed, first, last, path, quality, guess } =
        upload::rehearse(app, context, grant, MOST, request).await?;
    let report = Report {
        request: context.id().to_string(),
        direction: Direction::Upload,
        arm: context.arm(app.engine(), Direction::Upload),
        bytes,
        elapsed,
        cpu: clock::cpu().saturating_sub(cpu),
        is_complete: true,
        first,
        last,
        path,
        quality,
        guess,
    };
    app.bench().keep(report.clone());
    Ok(report)
}

/// Zeros on their way to the administrator.
#[derive(Debug)]
pub struct Download {
    pub(crate) blob: Arc<dyn crate::storage::Blob>,
    pub(crate) size: ByteSize,
    pub(crate) flow: Flow,
    pub(crate) measure: Measure,
}

/// What a download measures until it ends.
#[derive(Debug)]
pub(crate) struct Measure {
    app: Arc<App>,
    context: Context,
    cpu: std::time::Duration,
    first: Plan,
    _place: OwnedSemaphorePermit,
}

/// Begins to send `?size=` zeros in the context's arm. The report follows the last byte: see [`Bench::results`].
pub(super) async fn download(
    app: &Arc<App>,
    context: &mut Context,
    query: Option<&str>,
) -> Result<Download, AdminError> {
    let size = size(query)?;
    let place = app.bench().begin()?;
    let cpu = clock::cpu();
    let blob = Arc::new(Blank::new(size)?);
    let flow = context.begin_flow(app.engine(), Direction::Download, Some(size.as_u64())).await;
    let flow = flow.map_err(|Left| AdminError::Crowded)?;
    let first = *flow.plan();
    let measure = Measure { app: Arc::clone(app), context: context.clone(), cpu, first, _place: place };
    Ok(Download { blob, size, flow, measure })
}

/// What a download with this query sends.
pub(super) fn size(query: Option<&str>) -> Result<ByteSize, AdminError> {
    let wrong = || AdminError::Size { most: MOST.as_u64() };
    let Some(text) = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("size=")) else {
        return Ok(USUAL);
    };
    let size: ByteSize = text.parse().map_err(|_| wrong())?;
    if (ByteSize::bytes(1)..=MOST).contains(&size) { Ok(size) } else { Err(wrong()) }
}

impl Measure {
    /// Keeps the report of a download that has ended, however it did.
    pub(crate) fn end(self, ending: Ending, flow: &Flow) {
        self.app.bench().keep(Report {
            request: self.context.id().to_string(),
            direction: Direction::Download,
            arm: flow.arm(),
            bytes: ByteSize::bytes(ending.bytes),
            elapsed: self.context.elapsed(),
            cpu: clock::cpu().saturating_sub(self.cpu),
            is_complete: ending.complete,
            first: self.first,
            last: *flow.plan(),
            path: flow.snapshot(),
            quality: flow.quality(),
            guess: flow.guess(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(size(None).unwrap(), USUAL);
        assert_eq!(size(Some("a=b&size=3MB")).unwrap(), ByteSize::mib(3));
        assert_eq!(size(Some("size=1GB")).unwrap(), MOST);
        for wrong in ["size=", "size=0", "size=1073741825", "size=-1", "size=much"] {
            assert!(matches!(size(Some(wrong)), Err(AdminError::Size { .. })), "{wrong}");
        }
    }
}
