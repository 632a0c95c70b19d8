//! The text form of a [`Tuner`], to keep it across restarts: one contest a line.
//!
//! `download good lte congestion 1 0.52 12.3 4.5 6.7 1.2 0.3 0.4` is the kind, the question, the option in force, what it
//! gives now (`-` when that is not known), then weight, sum and squares of each option. A line that does not fit, damaged
//! or of another version, is left out: what it knew is learnt again.

use super::contest::Contest;
use super::record::Record;
use super::{Kind, Tuner};
use crate::pace::Direction;
use crate::profile::{Link, Quality};

const CEILING: &str = "ceiling";
const CONGESTION: &str = "congestion";
const DIRECTIONS: [(Direction, &str); 2] = [(Direction::Upload, "upload"), (Direction::Download, "download")];

impl Tuner {
    /// All that is known, for [`Tuner::recall`].
    #[must_use]
    pub fn to_text(&self) -> String {
        let of_kind = self.contests.iter().flat_map(|(kind, contests)| {
            [(CEILING, &contests.ceiling), (CONGESTION, &contests.congestion)]
                .map(|(question, contest)| format!("{} {question} {}\n", kind_text(kind), contest_text(contest)))
        });
        let mut lines: Vec<String> = of_kind.collect();
        lines.sort_unstable();
        lines.concat()
    }

    /// Takes in what an earlier process knew.
    pub fn recall(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.split(' ');
            let Some(kind) = read_kind(&mut words) else { continue };
            let question = words.next();
            let contests = self.contests.entry(kind).or_default();
            let known = match question {
                Some(CEILING) => &mut contests.ceiling,
                Some(CONGESTION) => &mut contests.congestion,
                _ => continue,
            };
            if let Some(contest) = read_contest(&mut words, known.options().len()) {
                *known = contest;
            }
        }
    }
}

fn kind_text(kind: &Kind) -> String {
    let direction = DIRECTIONS.iter().find(|(direction, _)| *direction == kind.direction).map_or("", |(_, name)| name);
    format!("{direction} {} {}", kind.quality.as_str(), kind.link.as_str())
}

fn read_kind<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Kind> {
    let word = words.next()?;
    let (direction, _) = DIRECTIONS.into_iter().find(|(_, name)| *name == word)?;
    let word = words.next()?;
    let quality = Quality::ALL.into_iter().find(|quality| quality.as_str() == word)?;
    let word = words.next()?;
    let link = Link::KNOWN.into_iter().chain([Link::Unknown]).find(|link| link.as_str() == word)?;
    Some(Kind { direction, quality, link })
}

fn contest_text(contest: &Contest) -> String {
    let level = contest.level().map_or("-".to_owned(), |level| level.to_string());
    let records = contest.options().iter().flat_map(Record::sums).map(|sum| format!(" {sum}"));
    format!("{} {level}{}", contest.in_force(), records.collect::<String>())
}

fn read_contest<'a>(words: &mut impl Iterator<Item = &'a str>, options: usize) -> Option<Contest> {
    let in_force = words.next()?.parse().ok().filter(|option| *option < options)?;
    let level = match words.next()? {
        "-" => None,
        level => Some(level.parse().ok().filter(|level: &f64| level.is_finite())?),
    };
    let sums: Vec<f64> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let (records, rest) = sums.as_chunks::<3>();
    if records.len() != options || !rest.is_empty() {
        return None;
    }
    let records = records.iter().map(|sums| Record::of_sums(*sums)).collect::<Option<_>>()?;
    Some(Contest::known(records, in_force, level))
}
