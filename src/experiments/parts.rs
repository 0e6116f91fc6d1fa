use std::path::{Path, PathBuf};

use super::plan::{Difference, Kind};
use super::{Error, Plan, Planned, Record};

/// A series that was done in one or more folders, complete.
#[derive(Debug, Clone)]
pub struct Parts {
    /// What the runs are runs of.
    pub plan: Plan,
    /// All of them, in the order of the plan.
    pub members: Vec<Part>,
}

/// One run and where it lies.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its directory.
    pub dir: PathBuf,
    /// What came of it.
    pub record: Record,
}

impl Parts {
    /// Names of the runs of the folder that are not finished.
    ///
    /// # Errors
    ///
    /// As [`Parts::collect`], but for runs that are missing.
    pub fn missing(dir: &Path) -> Result<Vec<String>, Error> {
        let plan = Plan::read(dir)?;
        let all = plan.members.iter();
        let absent = |name: &String| Ok(find(&plan, &[dir.to_owned()], name)?.is_none());
        all.filter_map(|Planned { name, .. }| match absent(name) {
            Ok(true) => Some(Ok(name.clone())),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        })
        .collect()
    }

    /// Puts the runs in `dirs` together.
    ///
    /// # Errors
    ///
    /// [`Error::Folder`] for a folder that is part of no series of this kind or of another one, saying in what it differs
    /// (program version, seed, recipe, data); for a run that is in two folders; for a run whose predictions are no longer
    /// those that were judged; and when runs are missing, naming them.
    pub fn collect(dirs: &[PathBuf], kind: Kind) -> Result<Self, Error> {
        let Some(first) = dirs.first() else {
            return Err(Error::folder("", format!("name the folders that `{}` filled", kind.command())));
        };
        let plan = Plan::read(first)?;
        if plan.kind != kind {
            return Err(Error::folder(
                first,
                format!("it is part of a {}, not of a {}", plan.kind.name(), kind.name()),
            ));
        }
        for dir in &dirs[1..] {
            if let Some(Difference { what, ours, theirs }) = Plan::read(dir)?.difference(&plan) {
                let reason = format!(
                    "it does not belong with {}, as it has another {what}: {ours} here, {theirs} there",
                    first.display()
                );
                return Err(Error::folder(dir, reason));
            }
        }
        let mut members = Vec::new();
        let mut missing = Vec::new();
        for Planned { name, .. } in &plan.members {
            match find(&plan, dirs, name)? {
                Some(part) => members.push(part),
                None => missing.push(name.as_str()),
            }
        }
        if missing.is_empty() {
            return Ok(Self { plan, members });
        }
        let all = dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ");
        let reason = format!(
            "{} of {} runs are missing or not finished: {}; run `{}` for them, or name the folder they are in",
            missing.len(),
            plan.members.len(),
            missing.join(", "),
            kind.command()
        );
        Err(Error::folder(all, reason))
    }
}

/// The finished run `name` in one of `dirs`.
fn find(plan: &Plan, dirs: &[PathBuf], name: &str) -> Result<Option<Part>, Error> {
    let mut found: Option<Part> = None;
    for dir in dirs.iter().map(|dir| dir.join(name)) {
        let Some(record) = Record::read(&dir)? else { continue };
        if record.plan_sha256 != plan.sha256()? || record.name != name {
            let reason = format!("it is a run of another {}; remove it", plan.kind.name());
            return Err(Error::folder(dir, reason));
        }
        if !record.is_of(&dir) {
            let reason = format!(
                "its predictions.csv is not the one that was judged (did `oido evaluate` replace it?); run `{}` again, which \
                 judges it anew",
                plan.kind.command()
            );
            return Err(Error::folder(dir, reason));
        }
        if let Some(Part { dir: other, .. }) = &found {
            let reason =
                format!("the same run is in {} too; name only one of the two folders", other.display());
            return Err(Error::folder(dir, reason));
        }
        found = Some(Part { dir, record });
    }
    Ok(found)
}
