//! Medians, and how well they are known.

/// How sure an interval is.
const CERTAINTY: f64 = 0.95;

/// The middle one; the mean of the two middle ones of an even number; not a number when there is none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let values = sorted(values);
    let upper = values.len() / 2;
    match (values.get(upper), values.len() % 2) {
        (None, _) => f64::NAN,
        (Some(upper), 1) => *upper,
        (Some(above), _) => f64::midpoint(*above, values[upper - 1]),
    }
}

/// Not a number when there is none.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

/// From where to where the median lies of what the values are a sample of, with 95 % certainty or a little more; `None`
/// where there are fewer than six, or more than a thousand. By the sign test: nothing is assumed but that each value lies
/// above the true median as likely as below, independent of the others.
pub(crate) fn median_interval(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let values = sorted(values);
    let rank = outer_rank(values.len())?;
    Some((values[rank], values[values.len() - 1 - rank]))
}

/// How many values may be left out at either end of so many: the median is beyond the one that follows when no more than
/// these are on its other side, and a fair coin falls so one-sidedly in at most 2.5 % of all cases.
fn outer_rank(count: usize) -> Option<usize> {
    // So rare is what each of many coins does alike that no number is small enough for it.
    let count = i32::try_from(count).ok().filter(|count| *count <= 1000)?;
    // Number of heads: how likely it is, and how likely it or fewer are.
    let (mut exactly, mut at_most) = (0.5_f64.powi(count), 0.0);
    let mut rank = None;
    for heads in 0..count {
        at_most += exactly;
        if at_most > (1.0 - CERTAINTY) / 2.0 {
            break;
        }
        rank = usize::try_from(heads).ok();
        exactly *= f64::from(count - heads) / f64::from(heads + 1);
    }
    rank
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use netlab::Dice;

    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert!(median(std::iter::empty()).is_nan());
    }

    #[test]
    fn the_mean_weighs_all_alike() {
        assert_eq!(mean([1.0, 1.0, 4.0].into_iter()), 2.0);
        assert!(mean(std::iter::empty()).is_nan());
    }

    /// Ranks from printed tables of the sign test, counted from one.
    #[test]
    fn the_interval_of_a_median_is_that_of_the_sign_test() {
        let interval = |count: u32| median_interval((1..=count).rev().map(f64::from));
        assert_eq!(interval(5), None, "even the least and the greatest are 94 % only");
        assert_eq!(interval(6), Some((1.0, 6.0)));
        assert_eq!(interval(10), Some((2.0, 9.0)));
        assert_eq!(interval(20), Some((6.0, 15.0)));
        assert_eq!(interval(50), Some((18.0, 33.0)));
        assert_eq!(interval(100), Some((40.0, 61.0)));
        assert_eq!(interval(1000), Some((469.0, 532.0)));
    }

    #[test]
    fn nineteen_of_twenty_intervals_hold_the_true_median() {
        let mut dice = Dice::new(1);
        // Lopsided: its median is 1/4, its mean 1/3.
        let mut holds = |count: usize| {
            let sample = (0..count).map(|_| dice.share().powi(2)).collect::<Vec<_>>();
            let (low, high) = median_interval(sample.into_iter()).unwrap();
            low <= 0.25 && 0.25 <= high
        };
        for count in [6, 17, 60] {
            let held = (0..2000).filter(|_| holds(count)).count();
            // The sign test's own certainty of so many is 96.9, 95.1 and 97.3 %.
            assert!((1880..=1970).contains(&held), "{held} of 2000 with {count} values");
        }
    }
}
