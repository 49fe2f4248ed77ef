//! What each method promises beyond the contract: one file per method, its tests named after what its sheet asks for.
//! The common clauses (unchanged start, gradients, merge, saving, export, frozen bytes) are in `contract.rs`.

#[cfg(test)]
mod adalora;
#[cfg(test)]
mod adapter;
#[cfg(test)]
mod alloc;
#[cfg(test)]
mod bat;
#[cfg(test)]
mod bench;
#[cfg(test)]
mod bitfit;
#[cfg(test)]
mod comp_lora;
#[cfg(test)]
mod corda;
#[cfg(test)]
mod das;
#[cfg(test)]
mod diffora;
#[cfg(test)]
mod dora;
#[cfg(test)]
mod eora;
#[cfg(test)]
mod eva;
#[cfg(test)]
mod flora;
#[cfg(test)]
mod forget;
#[cfg(test)]
mod hydra;
#[cfg(test)]
mod ia3;
#[cfg(test)]
mod increlora;
#[cfg(test)]
mod int2_1;
#[cfg(test)]
mod inv_adapter;
#[cfg(test)]
mod lamda;
#[cfg(test)]
mod lamda_pp;
#[cfg(test)]
mod ln;
#[cfg(test)]
mod loftq;
#[cfg(test)]
mod loha;
#[cfg(test)]
mod lokr;
#[cfg(test)]
mod loldu;
#[cfg(test)]
mod lora_pro;
#[cfg(test)]
mod lq_lora;
#[cfg(test)]
mod lt_sft;
#[cfg(test)]
mod mam;
#[cfg(test)]
mod miss;
#[cfg(test)]
mod mola;
#[cfg(test)]
mod mtlora;
#[cfg(test)]
mod nola;
#[cfg(test)]
mod olora;
#[cfg(test)]
mod p_adapter;
#[cfg(test)]
mod paca;
#[cfg(test)]
mod par_adapter;
#[cfg(test)]
mod pela;
#[cfg(test)]
mod pissa;
#[cfg(test)]
mod polyhistor;
#[cfg(test)]
mod prefix;
#[cfg(test)]
mod prompt;
#[cfg(test)]
mod pyra;
#[cfg(test)]
mod sara;
#[cfg(test)]
mod sketchtune;
#[cfg(test)]
mod soka;
#[cfg(test)]
mod sora;
#[cfg(test)]
mod tlora;
#[cfg(test)]
mod vera;
