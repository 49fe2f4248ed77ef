//! The front of points that are better lower on both of two axes.
//!
//! Place in the data flow: the window draws it over runs (forgetting and loss), tables of methods over methods; both mean the
//! same by "nothing beats it".

/// The points that no other one beats on both axes, by rising first value. `values` gives both figures of a point; lower is
/// better on both, and one without a number is on no front. Of equals the first stays.
pub fn front<T>(points: &[T], values: impl Fn(&T) -> (f64, f64)) -> Vec<&T> {
    let known = points.iter().map(|point| (values(point), point));
    let mut sorted: Vec<((f64, f64), &T)> = known.filter(|((x, y), _)| x.is_finite() && y.is_finite()).collect();
    sorted.sort_by(|((x, y), _), ((other_x, other_y), _)| x.total_cmp(other_x).then(y.total_cmp(other_y)));
    let mut lowest = f64::INFINITY;
    sorted.retain(|((_, y), _)| {
        let better = *y < lowest;
        lowest = lowest.min(*y);
        better
    });
    sorted.into_iter().map(|(_, point)| point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<'a>(points: &'a [(&'a str, f64, f64)]) -> Vec<&'a str> {
        front(points, |(_, x, y)| (*x, *y)).into_iter().map(|(name, ..)| *name).collect()
    }

    #[test]
    fn the_front_is_what_nothing_beats() {
        assert_eq!(names(&[("a", 0.1, 1.0), ("b", 0.2, 0.5), ("c", 0.3, 0.7), ("d", 0.05, 1.2)]), ["d", "a", "b"]);
        assert_eq!(names(&[("a", 0.02, 1.5), ("b", 0.02, 1.4)]), ["b"], "of two that forget the same the better one");
        assert_eq!(names(&[("a", 0.02, 1.5), ("b", 0.02, 1.5)]), ["a"], "of equals the first");
        assert!(names(&[]).is_empty());
    }

    #[test]
    fn what_has_no_number_is_on_no_front_and_hides_nothing() {
        let points =
            [("nan", f64::NAN, 0.1), ("endless", f64::NEG_INFINITY, 0.1), ("low", 0.2, f64::NAN), ("b", 0.3, 0.7)];
        assert_eq!(names(&points), ["b"]);
    }
}
