use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::plan::{Difference, read_json};
use super::{Error, Figures, Plan, Planned, Record, Shard};
use crate::config::ConfigError;
use crate::dataset::{self, Split};
use crate::evaluation::evaluate_run;
use crate::files::{FolderLock, is_unfinished, sha256_of};
use crate::tracking::{self, Trackers};
use crate::training::fit::Ended;
use crate::training::recipe::Monitor;
use crate::training::{self, Observer, Recipe, RunDir, RunInfo, RunOptions, results};

/// Runs that belong together, in one folder.
#[derive(Debug, Clone)]
pub struct Series {
    /// What they are runs of.
    pub plan: Plan,
    /// The runs, in order.
    pub members: Vec<Member>,
    /// The clips that each is judged on.
    pub part: Split,
}

/// One of the runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Its folder and settings.
    pub planned: Planned,
    /// What it trains.
    pub recipe: Recipe,
}

/// Where the runs take place; nothing of it changes their results.
#[derive(Debug, Clone)]
pub struct Site {
    /// Manifest CSV or data set root; overrides the recipe's.
    pub data: Option<PathBuf>,
    /// The folder of the series.
    pub dir: PathBuf,
    /// Device by name.
    pub device: String,
    /// Folder for features between runs.
    pub cache: Option<PathBuf>,
    /// The command that was typed.
    pub command: String,
    /// Who follows each run.
    pub trackers: Trackers,
}

/// What the best epoch of a recipe is chosen by: in its last stage, whose weights are kept.
pub(super) fn monitor_of(recipe: &Recipe) -> Result<Monitor, ConfigError> {
    let plan = recipe.plan()?;
    let last = plan.last().map_or(recipe, |planned| &planned.recipe);
    Ok(last.training.monitor.unwrap_or(Monitor::of(recipe.task)))
}

/// What a series tells while it goes on.
#[derive(Debug)]
pub enum Told<'a> {
    /// A run begins or goes on.
    Begins(&'a str),
    /// A run is finished; `before` when that was so already.
    Finished {
        /// What came of it.
        record: &'a Record,
        /// Whether nothing had to be done.
        before: bool,
    },
}

impl Series {
    /// Does the runs of `shard` that are not finished, and goes on with those that were interrupted. Gives whether all of
    /// them are finished now; otherwise `stop` was set.
    ///
    /// # Errors
    ///
    /// [`Error::Folder`] when the folder holds something else, and whatever ends a run, with its name.
    pub fn run(
        &self,
        shard: Shard,
        site: &Site,
        (observer, stop): (&dyn Observer, &AtomicBool),
        tell: &dyn Fn(Told),
    ) -> Result<bool, Error> {
        self.take(&site.dir)?;
        let mine = self.members.iter().enumerate().filter(|(i, _)| shard.does(*i));
        for (_, member) in mine {
            let dir = site.dir.join(&member.planned.name);
            if let Some(record) = self.finished(&dir)? {
                tell(Told::Finished { record: &record, before: true });
                continue;
            }
            tell(Told::Begins(&member.planned.name));
            let Some(record) = self.make(member, site, observer, stop)? else { return Ok(false) };
            tell(Told::Finished { record: &record, before: false });
        }
        Ok(true)
    }

    /// Begins the folder, or checks that it is this series that was begun in it.
    fn take(&self, dir: &Path) -> Result<(), Error> {
        // Another shard may be writing the same plan at this moment.
        let counts = |entry: std::io::Result<DirEntry>| entry.is_ok_and(|e| !is_unfinished(&e.file_name()));
        if !std::fs::read_dir(dir).is_ok_and(|mut entries| entries.any(counts)) {
            return self.plan.write(dir);
        }
        if let Some(Difference { what, ours, theirs }) = self.plan.difference(&Plan::read(dir)?) {
            let reason = format!(
                "it was begun with another {what}: {theirs} then, {ours} now; go on with the same, or give another --out"
            );
            return Err(Error::folder(dir, reason));
        }
        Ok(())
    }

    /// What came of the run in `dir`, when it is finished and its predictions are those that were judged.
    fn finished(&self, dir: &Path) -> Result<Option<Record>, Error> {
        let Some(record) = Record::read(dir)? else { return Ok(None) };
        if record.plan_sha256 != self.plan.sha256()? {
            let reason = format!("it is a run of another {}; move it away", self.plan.kind.name());
            return Err(Error::folder(dir, reason));
        }
        Ok(Some(record).filter(|record| record.is_of(dir)))
    }

    /// Trains and judges one run; none when it was interrupted.
    fn make(
        &self,
        member: &Member,
        site: &Site,
        observer: &dyn Observer,
        stop: &AtomicBool,
    ) -> Result<Option<Record>, Error> {
        let name = &member.planned.name;
        let out = site.dir.join(name);
        std::fs::create_dir_all(&out).map_err(Error::io(&out))?;
        let Some(_lock) = FolderLock::take(&out) else {
            return Err(Error::folder(
                out,
                "another program is at work on this run; give each its own --shard",
            ));
        };
        let options = RunOptions {
            data: site.data.clone(),
            out: out.clone(),
            resume: true,
            device: site.device.clone(),
            cache: site.cache.clone(),
            command: site.command.clone(),
        };
        match tracking::train(&member.recipe, &options, &site.trackers, observer, stop) {
            Err(training::Error::Dataset(dataset::Error::Stopped)) => return Ok(None),
            Err(source) => return Err(Error::Run { member: name.clone(), source }),
            Ok(outcome) if outcome.ended == Ended::Interrupted => return Ok(None),
            Ok(_) => {}
        }
        let run = RunDir::new(out);
        evaluate_run(&run, Some(self.part), &site.device)?;
        self.record(member, &run).map(Some)
    }

    fn record(&self, member: &Member, run: &RunDir) -> Result<Record, Error> {
        let info: RunInfo = read_json(&run.info())?;
        let rows = results::read(&run.results()).map_err(training::Error::from)?;
        let best = rows.iter().find(|row| row.epoch == info.best_epoch);
        let predictions = run.path().join("predictions.csv");
        let record = Record {
            format: Record::FORMAT,
            name: member.planned.name.clone(),
            plan_sha256: self.plan.sha256()?,
            part: self.part,
            clips: info.clips,
            epochs: info.epochs,
            best_epoch: info.best_epoch,
            model: info.model,
            parameters: info.parameters,
            protocol: info.protocol,
            leaking: info.leaking,
            warnings: info.warnings,
            monitored: best
                .map(|row| monitor_of(&member.recipe).map(|monitor| monitor.value(row)))
                .transpose()?,
            figures: Figures::read(run.path())?,
            predictions_sha256: sha256_of(&predictions).map_err(Error::io(predictions))?,
        };
        record.write(run.path())?;
        Ok(record)
    }
}
