//! The one thread that writes. What was asked for while it was busy becomes one transaction.

use std::{
    collections::VecDeque,
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    database::{Database, Use},
    transaction::Statements,
    trouble::Trouble,
};
use crate::ports::{Committed, StoreError, Write};

/// How many writes a group takes in before it is closed; a larger commit is a group of its own.
/// Other processes wait for the lock as long as a group takes.
const GROUP_WRITES_MAX: usize = 4_096;

/// Something else to be done on the connection that writes; returns whether that is in doubt now.
pub(super) type Work = Box<dyn FnOnce(&Connection) -> bool + Send>;

/// What the thread is told.
pub(super) enum Order {
    /// Make this durable, then answer.
    Commit(Commit),
    /// Do this after the commits that were ordered before.
    Work(Work),
    /// Finish what was ordered before, then end.
    Close,
}

/// One commit that somebody waits for.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) writes: Arc<[Write]>,
    pub(super) answer: oneshot::Sender<Result<Committed, StoreError>>,
    /// Its place in the queue, given back with the answer.
    pub(super) place: OwnedSemaphorePermit,
}

/// Starts the thread with a connection that stands.
pub(super) fn start(
    database: Database,
    connection: Connection,
) -> std::io::Result<(mpsc::Sender<Order>, JoinHandle<()>)> {
    let (orders, inbox) = mpsc::channel();
    let inbox = Inbox { orders: inbox, is_closed: false };
    let thread = std::thread::Builder::new().name("store-writer".to_owned());
    let thread = thread.spawn(move || run(&database, Some(connection), inbox))?;
    Ok((orders, thread))
}

fn run(database: &Database, mut first: Option<Connection>, mut inbox: Inbox) {
    while let Some(mut group) = inbox.next_group() {
        // A group is handed on from one connection to the next until each commit has its answer.
        while !group.is_empty() {
            match first.take().map_or_else(|| database.connect(Use::Write), Ok) {
                Ok(connection) => serve(&connection, &mut group, &mut inbox),
                Err(trouble) => {
                    refuse(group.take_all(), &trouble);
                    // Whoever asked for it hears that it is not done.
                    group.work = None;
                }
            }
        }
    }
}

/// Commits groups until the connection is in doubt or the store is closed; what `group` still
/// holds then is without an answer.
fn serve(connection: &Connection, group: &mut Group, inbox: &mut Inbox) {
    let mut statements = match Statements::prepare(connection) {
        Ok(statements) => statements,
        Err(trouble) => {
            group.work = None;
            return refuse(group.take_all(), &trouble);
        }
    };
    loop {
        while let Some(commits) = group.take() {
            let writes: Vec<&[Write]> = commits.iter().map(|it| &*it.writes).collect();
            let trouble = match statements.transact(&writes) {
                Ok(done) => {
                    answer(commits, done);
                    continue;
                }
                Err(trouble) => trouble,
            };
            if commits.len() == 1 || trouble.is_busy() {
                refuse(commits, &trouble);
            } else {
                group.split(commits);
            }
            if trouble.is_in_doubt() {
                return;
            }
        }
        if group.work.take().is_some_and(|work| work(connection)) {
            return;
        }
        match inbox.next_group() {
            Some(next) => *group = next,
            None => return,
        }
    }
}

fn answer(commits: Vec<Commit>, done: Vec<Committed>) {
    for (Commit { answer, place, writes: _ }, done) in commits.into_iter().zip(done) {
        drop(place);
        // Whoever asked may have gone; what was written stays.
        answer.send(Ok(done)).ok();
    }
}

fn refuse(commits: Vec<Commit>, trouble: &Trouble) {
    let error = trouble.to_error("write");
    for Commit { answer, place, writes: _ } in commits {
        drop(place);
        answer.send(Err(error.clone())).ok();
    }
}

/// Commits that go into one transaction, unless one of them spoilt it: then each gets its own, so
/// that only the guilty one fails.
struct Group {
    commits: VecDeque<Commit>,
    is_split: bool,
    /// What comes after them.
    work: Option<Work>,
}

impl Group {
    fn is_empty(&self) -> bool {
        self.commits.is_empty() && self.work.is_none()
    }

    /// Takes what goes into the next transaction; `None` when nothing is left.
    fn take(&mut self) -> Option<Vec<Commit>> {
        if self.is_split {
            return self.commits.pop_front().map(|it| vec![it]);
        }
        Some(self.take_all()).filter(|it| !it.is_empty())
    }

    fn take_all(&mut self) -> Vec<Commit> {
        std::mem::take(&mut self.commits).into()
    }

    /// Takes commits back, to be tried one by one.
    fn split(&mut self, commits: Vec<Commit>) {
        (self.commits, self.is_split) = (commits.into(), true);
    }
}

struct Inbox {
    orders: mpsc::Receiver<Order>,
    is_closed: bool,
}

impl Inbox {
    /// Waits for a commit and takes what came with it; `None` once the store is closed.
    fn next_group(&mut self) -> Option<Group> {
        if self.is_closed {
            return None;
        }
        let mut order = self.orders.recv().ok()?;
        let mut group = Group { commits: VecDeque::new(), is_split: false, work: None };
        let mut n_writes = 0;
        loop {
            match order {
                Order::Close => self.is_closed = true,
                Order::Work(work) => group.work = Some(work),
                Order::Commit(commit) => {
                    n_writes += commit.writes.len();
                    group.commits.push_back(commit);
                }
            }
            if self.is_closed || n_writes >= GROUP_WRITES_MAX || group.work.is_some() {
                return Some(group);
            }
            match self.orders.try_recv() {
                Ok(next) => order = next,
                Err(_) => return Some(group),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;
    use crate::stores::contract::accepted;

    fn commit(n_writes: usize) -> Order {
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let writes = vec![accepted(1, 1); n_writes].into();
        Order::Commit(Commit { writes, answer: oneshot::channel().0, place })
    }

    fn work() -> Order {
        Order::Work(Box::new(|_| false))
    }

    /// The groups that become of `orders`: how many commits each has, and whether work follows.
    fn groups(orders: Vec<Order>) -> Vec<(usize, bool)> {
        let (sender, receiver) = mpsc::channel();
        for order in orders {
            sender.send(order).unwrap();
        }
        drop(sender);
        let mut inbox = Inbox { orders: receiver, is_closed: false };
        let groups = std::iter::from_fn(|| inbox.next_group());
        groups.map(|it| (it.commits.len(), it.work.is_some())).collect()
    }

    #[test]
    fn what_waits_becomes_one_group_until_that_is_large() {
        let large = GROUP_WRITES_MAX - 2;
        let orders = vec![commit(1), commit(large), commit(1), commit(1), commit(1)];
        assert_eq!(groups(orders), [(3, false), (2, false)]);
    }

    #[test]
    fn work_ends_a_group_and_nothing_comes_after_the_end() {
        let orders = vec![commit(1), work(), work(), commit(1), Order::Close, commit(1)];
        assert_eq!(groups(orders), [(1, true), (0, true), (1, false)]);
    }
}
