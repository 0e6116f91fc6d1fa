//! Several runs as one experiment: the folds of a cross-validation, the trials of a sweep, an ensemble; and what a
//! competition is sent.
//!
//! The runs of a cross-validation or sweep are a [`Series`]: ordinary run directories in one folder, beside a plan that
//! says what they are runs of. They can be done by one machine or, by [`Shard`], on many; either way the results are put
//! together from the folders by the same code, [`Parts`], so both ways give the same bytes.

mod cv;
mod ensemble;
mod error;
mod figures;
mod parts;
mod plan;
mod series;
mod shard;
mod submission;
mod sweep;

pub use cv::{CrossValidation, cross_validation};
pub use ensemble::{Ensemble, EnsembleInfo, EnsembleMember, Mean};
pub use error::Error;
pub use figures::Figures;
pub use parts::{Part, Parts};
pub use plan::{Kind, Plan, Planned, Record};
pub use series::{Member, Series, Site, Told};
pub use shard::Shard;
pub use submission::{Models, Sample, Submission};
pub use sweep::{Grid, Sweep, sweep};
