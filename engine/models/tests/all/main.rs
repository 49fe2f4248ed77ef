//! Tests of the crate as its users see it, in one program so that it links once.

#[cfg(test)]
mod attention_sizes;
#[cfg(test)]
mod describe;
#[cfg(test)]
mod generation;
#[cfg(test)]
mod gguf_files;
#[cfg(test)]
mod gguf_models;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod gradients;
#[cfg(test)]
mod hf_folders;
#[cfg(test)]
mod insertions;
#[cfg(test)]
mod stages;
#[cfg(test)]
mod tools;
#[cfg(test)]
mod vision;
