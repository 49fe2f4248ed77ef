//! DAS: sizes, what each block gets, which blocks. The search is tested where it is, on whole models further up.
//!
//! Acceptance, each with its test:
//! - equal p draws every block k times of n: `train/src/images/skipping.rs`,
//!   `draws_without_replacement_have_equal_marginals_for_equal_p`
//! - equal rewards change nothing, a change has the sign of R − R̄: there,
//!   `equal_rewards_change_nothing_and_better_subsets_gain`
//! - toy anchor, four of four under 20 of 20 seeds: there,
//!   `all_four_planted_blocks_are_found_under_every_one_of_twenty_seeds`
//! - left-out blocks save the expected operations: `tests/tests/vision_methods.rs`,
//!   `blocks_that_are_left_out_save_what_they_cost_and_the_net_in_their_place_costs_its_own`
//! - three of four planted blocks of twelve are left out: there, `the_search_leaves_out_blocks_that_do_nothing`

use crate::bench::{Outcome, blocks, count_blocks, inserted, normal, off, values};
use temper_methods::find;
use temper_nn::{Insert, Point};
use temper_protocol::{Value, Values};

#[test]
fn parameter_count_is_a_bottleneck_and_a_wider_net_a_block() -> Outcome {
    let (model, d) = (blocks(12, 768, 768), 768);
    let net = |width: usize| (2 * d * width + width + d) as u64;
    assert_eq!(count_blocks("das", &model, &[])?, 12 * (net(96) + net(288) + 2 * d as u64));
    let settled = ("skip", Value::Text("0,3-5".to_owned()));
    assert_eq!(count_blocks("das", &model, &[settled])?, 8 * net(96) + 4 * (net(288) + 2 * d as u64));
    Ok(())
}

#[test]
fn a_third_of_the_blocks_is_searched_for_and_never_all() -> Outcome {
    let count = |of: usize, settings: &[(&str, Value)]| -> Outcome<usize> {
        let plan = find("das")?.plan(&values(settings), &blocks(of, 32, 32).sites, 1)?;
        let search = plan.insertions.iter().find_map(|insertion| match &insertion.what {
            Insert::Skip(skip) => skip.search.clone(),
            _ => None,
        });
        Ok(search.ok_or("no search")?.count)
    };
    assert_eq!((count(12, &[])?, count(6, &[])?, count(2, &[])?), (4, 2, 1));
    assert_eq!(count(2, &[("share", Value::Number(0.9))])?, 1);
    assert!(find("das")?.plan(&values(&[("skip", Value::Text("7".to_owned()))]), &blocks(6, 32, 32).sites, 1).is_err());
    Ok(())
}

#[test]
fn the_net_in_a_block_s_place_starts_as_nothing_and_is_asked_only_when_left_out() -> Outcome {
    let x = normal("x", 5, 24, 1.0)?;
    for (stage, inserts) in inserted("das", &blocks(3, 24, 8), &[])? {
        assert!(inserts.instead(&x)?.is_none(), "{stage} is left out at the start");
        inserts.set_skipped(true);
        let instead = inserts.instead(&x)?.ok_or("it is not left out")?;
        assert_eq!(off(&instead, &x)?, 0.0);
        inserts.set_enabled(false);
        assert!(inserts.instead(&x)?.is_none(), "switched off, the block runs");
    }
    let plan = find("das")?.plan(&Values::default(), &blocks(3, 24, 8).sites, 1)?;
    let behind = plan.insertions.iter().filter(|insertion| insertion.what.point() == Point::MlpOut);
    assert_eq!((plan.insertions.len(), behind.count()), (6, 3));
    Ok(())
}
