//! The task graph: immutable arrays in compressed-row form, built once per dispatch.

use super::order;
use crate::model::{Millis, TaskIdx};

/// One dependency: `dependent` waits for `dependency`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// The task that must have ended.
    pub dependency: TaskIdx,
    /// The task that waits for it.
    pub dependent: TaskIdx,
}

/// A directed acyclic graph of tasks with their estimates.
///
/// Invariant: every index stored here is below `len()`, and no task reaches itself.
#[derive(Clone, Debug)]
pub struct TaskGraph {
    dependents: Rows,
    dependencies: Rows,
    estimates: Vec<Millis>,
    ranks: Vec<Millis>,
    /// `by_priority[p]` is the task of priority `p`; `priorities` is its inverse.
    by_priority: Vec<TaskIdx>,
    priorities: Vec<u32>,
}

/// Lists of tasks, one per task: `targets[starts[t]..starts[t + 1]]` is the list of `t`.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    starts: Vec<u32>,
    targets: Vec<TaskIdx>,
}

impl TaskGraph {
    /// Lays out `estimates.len()` tasks and their dependencies; `None` if there is a cycle, which
    /// [`super::find_cycles`] then names. Equal edges count once.
    ///
    /// Costs O(tasks log tasks + edges).
    pub fn build(estimates: Vec<Millis>, edges: &[Edge]) -> Option<Self> {
        let n_tasks = estimates.len();
        let dependents =
            Rows::collect(n_tasks, edges.iter().map(|it| (it.dependency, it.dependent)));
        let dependencies =
            Rows::collect(n_tasks, edges.iter().map(|it| (it.dependent, it.dependency)));
        let order = order::topological(&dependents, &dependencies)?;
        Some(Self::rank_all(dependents, dependencies, &order, estimates))
    }

    /// The same tasks and dependencies with other estimates, and so with other priorities.
    /// Missing estimates count as zero.
    ///
    /// Costs O(tasks log tasks + edges).
    #[must_use]
    pub fn with_estimates(self, mut estimates: Vec<Millis>) -> Self {
        estimates.resize(self.len(), Millis(0));
        let Self { dependents, dependencies, by_priority, .. } = self;
        Self::rank_all(dependents, dependencies, &by_priority, estimates)
    }

    /// `order` has each task after all that it waits for.
    fn rank_all(
        dependents: Rows,
        dependencies: Rows,
        order: &[TaskIdx],
        estimates: Vec<Millis>,
    ) -> Self {
        let mut ranks = vec![Millis(0); estimates.len()];
        for &task in order.iter().rev() {
            let below = dependents.of(task).iter().map(|it| ranks[it.as_usize()]).max();
            // A task without an estimate still counts as a step, so that longer chains go first.
            let own = Millis(estimates[task.as_usize()].0.max(1));
            ranks[task.as_usize()] = own + below.unwrap_or_default();
        }
        let (by_priority, priorities) = sort_by_rank(&ranks);
        Self { dependents, dependencies, estimates, ranks, by_priority, priorities }
    }

    /// The number of tasks.
    pub fn len(&self) -> usize {
        self.ranks.len()
    }

    /// Whether there is no task at all.
    pub fn is_empty(&self) -> bool {
        self.ranks.is_empty()
    }

    /// All tasks, in document order.
    pub fn tasks(&self) -> impl DoubleEndedIterator<Item = TaskIdx> + ExactSizeIterator + use<> {
        (0..self.len()).map(TaskIdx::from_usize)
    }

    /// The tasks that wait for `task`, in document order, each once.
    pub fn dependents(&self, task: TaskIdx) -> &[TaskIdx] {
        self.dependents.of(task)
    }

    /// The tasks that `task` waits for, in document order, each once.
    pub fn dependencies(&self, task: TaskIdx) -> &[TaskIdx] {
        self.dependencies.of(task)
    }

    /// How long `task` is expected to take.
    pub fn estimate(&self, task: TaskIdx) -> Millis {
        self.estimates[task.as_usize()]
    }

    /// The length of the longest path from the start of `task` to the end of all.
    pub fn rank(&self, task: TaskIdx) -> Millis {
        self.ranks[task.as_usize()]
    }

    /// The place of `task` among all tasks by rank, then by document order; 0 starts first.
    pub fn priority(&self, task: TaskIdx) -> u32 {
        self.priorities[task.as_usize()]
    }

    /// The task of a priority.
    pub fn task_of_priority(&self, priority: u32) -> TaskIdx {
        self.by_priority[priority as usize]
    }

    /// The tasks so that each stands after all that it waits for.
    ///
    /// Costs nothing: a higher rank always stands before a lower one on each path.
    pub fn in_order(&self) -> &[TaskIdx] {
        &self.by_priority
    }
}

impl Rows {
    /// Sorts pairs (owner, target) into rows by counting; rows come out sorted, without repeats.
    #[expect(clippy::cast_possible_truncation, reason = "limits.edges_max is far below u32::MAX")]
    fn collect(n_tasks: usize, pairs: impl Iterator<Item = (TaskIdx, TaskIdx)> + Clone) -> Self {
        let mut starts = vec![0_u32; n_tasks + 1];
        pairs.clone().for_each(|(owner, _)| starts[owner.as_usize() + 1] += 1);
        for at in 0..n_tasks {
            starts[at + 1] += starts[at];
        }
        let mut free = starts.clone();
        let mut targets = vec![TaskIdx::from_usize(0); starts[n_tasks] as usize];
        for (owner, target) in pairs {
            let slot = &mut free[owner.as_usize()];
            targets[*slot as usize] = target;
            *slot += 1;
        }
        // What is kept moves to the front; it never overtakes what is looked at.
        let mut n_kept = 0;
        for at in 0..n_tasks {
            let row = starts[at] as usize..starts[at + 1] as usize;
            targets[row.clone()].sort_unstable();
            starts[at] = n_kept as u32;
            let begin = n_kept;
            for from in row {
                if n_kept == begin || targets[n_kept - 1] != targets[from] {
                    targets[n_kept] = targets[from];
                    n_kept += 1;
                }
            }
        }
        starts[n_tasks] = n_kept as u32;
        targets.truncate(n_kept);
        Self { starts, targets }
    }

    /// How many lists there are.
    pub(super) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// The length of one list.
    pub(super) fn n_targets(&self, at: usize) -> u32 {
        self.starts[at + 1] - self.starts[at]
    }

    /// One list.
    pub(super) fn of(&self, task: TaskIdx) -> &[TaskIdx] {
        let at = task.as_usize();
        &self.targets[self.starts[at] as usize..self.starts[at + 1] as usize]
    }
}

#[expect(clippy::cast_possible_truncation, reason = "limits.tasks_max is far below u32::MAX")]
fn sort_by_rank(ranks: &[Millis]) -> (Vec<TaskIdx>, Vec<u32>) {
    // Rank and position in one number sort without a look-up for each comparison.
    let mut keys: Vec<u128> =
        ranks.iter().enumerate().map(|(at, rank)| u128::from(!rank.0) << 32 | at as u128).collect();
    keys.sort_unstable();
    let by_priority: Vec<TaskIdx> =
        keys.into_iter().map(|it| TaskIdx::from_usize(it as u32 as usize)).collect();
    let mut priorities = vec![0; ranks.len()];
    for (priority, task) in by_priority.iter().enumerate() {
        priorities[task.as_usize()] = priority as u32;
    }
    (by_priority, priorities)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::{super::testing::parse, *};

    /// `text` has one task a line: `name ~estimate_ms <- dependency dependency`.
    #[track_caller]
    fn check(text: &str, expected: &Expect) {
        let drawing = parse(text);
        let graph = TaskGraph::build(drawing.estimates.clone(), &drawing.edges).unwrap();
        let name = |it: &TaskIdx| drawing.names[it.as_usize()].clone();
        let lines = graph.in_order().iter().map(|&it| {
            let waits: Vec<_> = graph.dependencies(it).iter().map(name).collect();
            let frees: Vec<_> = graph.dependents(it).iter().map(name).collect();
            format!("{}:{} {waits:?} {frees:?}", name(&it), graph.rank(it).0)
        });
        expected.assert_eq(&lines.collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn the_longest_remaining_path_has_the_first_priority() {
        check(
            "short\na\nb <- a\nc ~50 <- a a\nd <- c b",
            &expect![[r#"
                a:52 [] ["b", "c"]
                c:51 ["a"] ["d"]
                b:2 ["a"] ["d"]
                short:1 [] []
                d:1 ["b", "c"] []"#]],
        );
    }

    #[test]
    fn other_estimates_give_the_ranks_they_would_have_given_at_first() {
        let drawing = parse("a ~9\nb <- a\nc ~50 <- a\nd <- c b\ne ~3");
        let graph = |estimates| TaskGraph::build(estimates, &drawing.edges).unwrap();
        let other = [5, 70, 1, 2, 80].map(Millis).to_vec();
        let changed = graph(drawing.estimates.clone()).with_estimates(other.clone());
        assert_eq!(changed.in_order(), graph(other.clone()).in_order());
        let ranks: Vec<_> = changed.tasks().map(|it| changed.rank(it).0).collect();
        assert_eq!(ranks, [77, 72, 3, 2, 80]);
        assert_eq!(changed.tasks().map(|it| changed.estimate(it)).collect::<Vec<_>>(), other);
    }

    #[test]
    fn a_cycle_is_no_graph() {
        let drawing = parse("a <- b\nb <- a\nc");
        assert!(TaskGraph::build(drawing.estimates, &drawing.edges).is_none());
    }
}
