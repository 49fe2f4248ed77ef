//! Tests of the trainer on tiny models: the stage driver, whole runs, resumes, runs that go wrong,
//! runs that imitate.

mod attention_sizes;
mod bench;
mod closed;
mod driver;
mod fixture;
mod images;
mod images_imitate;
mod imitate;
mod limits;
mod prefix;
mod remembered;
mod resume;
mod session;
mod snapshots;
mod starts;
mod tiny;
mod train_on;
