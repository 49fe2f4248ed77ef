//! What each method promises beyond the contract: one file per method, its tests named after what its sheet asks for.
//! The common clauses (unchanged start, gradients, merge, saving, export, frozen bytes) are in `contract.rs`.

#[cfg(test)]
mod bench;
#[cfg(test)]
mod bitfit;
#[cfg(test)]
mod dora;
#[cfg(test)]
mod ia3;
#[cfg(test)]
mod olora;
#[cfg(test)]
mod pissa;
