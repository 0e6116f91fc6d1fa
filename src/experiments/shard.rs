use crate::config::ConfigError;

/// Where a job of an array finds its number, where the lowest number and the step between numbers, and where how many jobs
/// there are. Kubernetes does not tell the last.
const ARRAYS: [Array; 3] = [
    Array { number: "JOB_COMPLETION_INDEX", lowest: None, step: None, count: None },
    Array {
        number: "SLURM_ARRAY_TASK_ID",
        lowest: Some("SLURM_ARRAY_TASK_MIN"),
        step: Some("SLURM_ARRAY_TASK_STEP"),
        count: Some("SLURM_ARRAY_TASK_COUNT"),
    },
    Array {
        number: "AWS_BATCH_JOB_ARRAY_INDEX",
        lowest: None,
        step: None,
        count: Some("AWS_BATCH_JOB_ARRAY_SIZE"),
    },
];

struct Array {
    number: &'static str,
    lowest: Option<&'static str>,
    step: Option<&'static str>,
    count: Option<&'static str>,
}

/// Which of several jobs this is: it does every `count`-th piece of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 1.
    number: usize,
    count: usize,
}

impl Shard {
    /// The one job that does everything.
    pub const ALL: Self = Self { number: 1, count: 1 };

    /// Reads `i/N`, job i of N counted from 1, or `auto/N` and `auto`, which take i (and N) from the job array that this is
    /// one of: `JOB_COMPLETION_INDEX` of Kubernetes, `SLURM_ARRAY_TASK_ID` of Slurm or `AWS_BATCH_JOB_ARRAY_INDEX` of AWS
    /// Batch. `environment` gives the value of a variable.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Field`] for another form, a job that is not one of N, or an array that is not there.
    pub fn find(text: &str, environment: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let refuse = |reason: String| Err(ConfigError::field(format!("--shard {text}"), reason));
        let (number, count) = match text.split_once('/') {
            Some((number, count)) => (number, Some(count)),
            None => (text, None),
        };
        let number_of = |text: &str| text.trim().parse::<usize>().ok();
        let (found, from) = match (number, count) {
            ("auto", _) => match in_array(&environment) {
                Ok(found) => found,
                Err(reason) => return refuse(reason),
            },
            (number, Some(_)) => ((number_of(number), None), "i"),
            (_, None) => return refuse("give i/N, as 1/5 to 5/5, or auto/N in a job array".to_owned()),
        };
        let count = match count {
            Some(count) => number_of(count),
            None if found.1.is_none() => {
                return refuse(format!("{from} does not come with the number of jobs; give auto/N"));
            }
            None => found.1,
        };
        match (found.0, count) {
            (Some(number), Some(count)) if (1..=count).contains(&number) => Ok(Self { number, count }),
            (Some(number), Some(count)) if count > 0 => {
                refuse(format!("job {number}, counted from 1, is not one of {count}"))
            }
            _ => refuse("give i/N with two whole numbers, as 1/5 to 5/5".to_owned()),
        }
    }

    /// Whether piece `index` of the work, from 0, is this job's. Each piece is that of exactly one of the N jobs.
    pub fn does(self, index: usize) -> bool {
        index % self.count == self.number - 1
    }
}

/// Number, from 1, and count.
type Numbers = (Option<usize>, Option<usize>);

/// The job's number in the array that it is one of, how many there are when that is told, and the variable that said so.
fn in_array(environment: &impl Fn(&str) -> Option<String>) -> Result<(Numbers, &'static str), String> {
    let Some(array) = ARRAYS.iter().find(|array| environment(array.number).is_some()) else {
        let names: Vec<&str> = ARRAYS.iter().map(|array| array.number).collect();
        return Err(format!("this is no job of an array: none of {} is set; give i/N", names.join(", ")));
    };
    let value = |name: &str, default: usize| match environment(name) {
        None => Ok(default),
        Some(text) => {
            text.trim().parse::<usize>().map_err(|_| format!("{name} is `{text}`, not a whole number"))
        }
    };
    let number = value(array.number, 0)?;
    let lowest = array.lowest.map_or(Ok(0), |name| value(name, 0))?;
    let step = array.step.map_or(Ok(1), |name| value(name, 1))?.max(1);
    let count = array.count.map_or(Ok(0), |name| value(name, 0))?;
    let place =
        number.checked_sub(lowest).filter(|above| above.is_multiple_of(step)).map(|above| above / step);
    let Some(place) = place else {
        return Err(format!("{} is {number}, which is not {lowest} or {step} more", array.number));
    };
    Ok(((Some(place + 1), (count > 0).then_some(count)), array.number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, set: &[(&str, &str)]) -> Result<Shard, String> {
        let environment =
            |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
        Shard::find(text, environment).map_err(|error| error.to_string())
    }

    #[test]
    fn every_piece_is_that_of_exactly_one_job() {
        for count in [1, 2, 7, 64] {
            let jobs: Vec<Shard> = (1..=count).map(|i| find(&format!("{i}/{count}"), &[]).unwrap()).collect();
            for piece in 0..50 {
                assert_eq!(jobs.iter().filter(|job| job.does(piece)).count(), 1);
            }
        }
        assert!((0..9).all(|piece| Shard::ALL.does(piece)));
    }

    #[test]
    fn job_arrays_tell_which_job_this_is() {
        let third = Ok(Shard { number: 3, count: 5 });
        assert_eq!(find("auto/5", &[("JOB_COMPLETION_INDEX", "2")]), third);
        let slurm = [
            ("SLURM_ARRAY_TASK_ID", "14"),
            ("SLURM_ARRAY_TASK_MIN", "10"),
            ("SLURM_ARRAY_TASK_STEP", "2"),
            ("SLURM_ARRAY_TASK_COUNT", "5"),
        ];
        assert_eq!(find("auto", &slurm), third);
        assert_eq!(find("auto/5", &slurm), third);
        let aws = [("AWS_BATCH_JOB_ARRAY_INDEX", "2"), ("AWS_BATCH_JOB_ARRAY_SIZE", "5")];
        assert_eq!(find("auto", &aws), third);
        assert_eq!(find("3/5", &aws), third);
    }

    #[test]
    fn mistakes_say_what_would_do() {
        let index = [("JOB_COMPLETION_INDEX", "5")];
        for (text, set, expected) in [
            ("0/5", &[][..], "--shard 0/5: job 0, counted from 1, is not one of 5"),
            ("6/5", &[], "job 6, counted from 1, is not one of 5"),
            ("1/0", &[], "two whole numbers"),
            ("a/5", &[], "two whole numbers"),
            ("5", &[], "give i/N, as 1/5"),
            ("auto/5", &[], "no job of an array: none of JOB_COMPLETION_INDEX, "),
            ("auto", &index, "JOB_COMPLETION_INDEX does not come with the number of jobs; give auto/N"),
            ("auto/5", &index, "job 6, counted from 1, is not one of 5"),
            ("auto/5", &[("JOB_COMPLETION_INDEX", "x")], "JOB_COMPLETION_INDEX is `x`, not a whole number"),
            (
                "auto/5",
                &[("SLURM_ARRAY_TASK_ID", "1"), ("SLURM_ARRAY_TASK_MIN", "2")],
                "which is not 2 or 1 more",
            ),
        ] {
            let error = find(text, set).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
