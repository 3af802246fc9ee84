//! Circles among stages that read each other.

use super::StageId;

/// Stages that read each other in a circle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Circle {
    /// Each reads the one after it, and the last reads the first.
    pub stages: Vec<StageId>,
    /// The last stage's last read of the first, by the number it has in `reads`.
    pub closed_by: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    New,
    /// On the path that is being followed.
    Open,
    Done,
}

/// The first circle there is. `reads` has for each stage what it reads, in order: a number of its own choice, and the
/// stage. Not recursive, so that no length of a chain exhausts the stack.
pub(super) fn find(reads: &[Vec<(usize, StageId)>]) -> Option<Circle> {
    let mut marks = vec![Mark::New; reads.len()];
    for start in 0..reads.len() {
        // The stages from `start` to where the search is, each with the number of reads already followed.
        let mut path: Vec<(usize, usize)> = vec![(start, 0)];
        while let Some((at, followed)) = path.last_mut() {
            let at = *at;
            let next = reads[at].get(*followed).filter(|_| marks[at] != Mark::Done);
            let Some((number, next)) = next else {
                marks[at] = Mark::Done;
                path.pop();
                continue;
            };
            marks[at] = Mark::Open;
            *followed += 1;
            let next = next.0 as usize;
            match marks.get(next) {
                Some(Mark::New) => path.push((next, 0)),
                Some(Mark::Open) => {
                    let stages = path.iter().map(|(stage, _)| *stage).skip_while(|stage| *stage != next);
                    let stages = stages.map(|stage| StageId(stage as u32)).collect();
                    let closing = reads[at].iter().rev().find(|(_, stage)| stage.0 as usize == next);
                    return Some(Circle { stages, closed_by: closing.map_or(*number, |(number, _)| *number) });
                }
                Some(Mark::Done) | None => {}
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(reads: &[&[u32]], expected: Option<(&[u32], usize)>) {
        let reads: Vec<Vec<(usize, StageId)>> = reads
            .iter()
            .map(|list| list.iter().enumerate().map(|(at, stage)| (at, StageId(*stage))).collect())
            .collect();
        let expected = expected
            .map(|(stages, closed_by)| Circle { stages: stages.iter().copied().map(StageId).collect(), closed_by });
        assert_eq!(find(&reads), expected);
    }

    #[test]
    fn circles() {
        check(&[], None);
        check(&[&[], &[0], &[0, 1, 1]], None);
        check(&[&[1], &[2], &[]], None);
        check(&[&[0]], Some((&[0], 0)));
        check(&[&[0, 0, 0]], Some((&[0], 2)));
        check(&[&[], &[0, 2], &[0, 1]], Some((&[1, 2], 1)));
        check(&[&[1], &[2], &[3], &[1]], Some((&[1, 2, 3], 0)));
        check(&[&[7]], None);
    }

    #[test]
    fn long_chains() {
        let reads: Vec<Vec<(usize, StageId)>> = (1..=200_000).map(|next| vec![(0, StageId(next % 200_000))]).collect();
        assert_eq!(find(&reads).map(|circle| circle.stages.len()), Some(200_000));
    }
}
