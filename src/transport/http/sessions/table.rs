//! The table of sessions, and the rules by which they are put to sleep, end, and make room.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    mem,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rmcp::{
    model::ClientJsonRpcMessage,
    transport::streamable_http_server::session::{SessionId, local::LocalSessionHandle},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::memory::Memory;
use crate::{model::Identity, transport::http::Load};

/// How long a session must have been left alone before it goes so that a new one finds room. A
/// client that thinks between two calls is not away yet.
const AWAY_MIN: Duration = Duration::from_mins(1);

/// How many sessions there may be, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How many there may be.
    pub(super) n_sessions: usize,
    /// How many of those that do nothing stay awake.
    pub(super) n_awake: usize,
    /// How long one may be left alone.
    pub(super) idle: Duration,
}

/// The table as everybody has it. It is locked for the length of one look or change, and never
/// while waiting.
#[derive(Clone, Debug)]
pub(super) struct SharedTable(Arc<Mutex<Table>>);

/// The sessions that there are.
#[derive(Debug)]
pub(super) struct Table {
    limits: Limits,
    sessions: BTreeMap<SessionId, Session>,
    /// Those that nobody visits, by their turns: the one that was left first is the first.
    left: BTreeMap<u64, SessionId>,
    /// Those that can be put to sleep, in the same order.
    drowsy: BTreeMap<u64, SessionId>,
    next_turn: u64,
    n_asleep: usize,
    /// What is left of sessions that ended, to be dropped when the table is no longer locked.
    ended: Vec<Worker>,
    load: Load,
}

/// The two ends of a session's worker.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub(super) handle: LocalSessionHandle,
    /// Ends it, and with it its handler.
    pub(super) stop: CancellationToken,
}

/// What must be done before a session can be used.
pub(super) enum Stir {
    /// Nothing.
    Ready,
    /// It is no longer there.
    Gone,
    /// Something goes on until the token is cancelled.
    Wait(CancellationToken),
    /// It is to be woken by whoever got this answer.
    Wake(Box<Sleeper>),
}

/// A session that is to be woken.
pub(super) struct Sleeper {
    pub(super) owner: Option<Identity>,
    pub(super) memory: Memory,
    /// Cancelled by the table once it is awake, or gone.
    pub(super) done: CancellationToken,
}

#[derive(Debug)]
struct Session {
    owner: Option<Identity>,
    memory: Memory,
    /// How many requests of its client are being answered, streams among them.
    n_visits: usize,
    /// How many things are done for it, for whatever reason.
    n_kept: usize,
    left_at: Instant,
    turn: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It has a handler.
    Awake(Worker),
    /// Its handler ends; then the token is cancelled, and it is asleep.
    Falling(CancellationToken),
    /// It has none.
    Asleep,
    /// It gets one; then the token is cancelled.
    Waking(CancellationToken),
}

impl SharedTable {
    pub(super) fn new(limits: Limits, load: Load) -> Self {
        Self(Arc::new(Mutex::new(Table::new(limits, load))))
    }

    /// Looks at the table, or changes it.
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut Table) -> R) -> R {
        let mut table = self.0.lock();
        let result = act(&mut table);
        let ended = mem::take(&mut table.ended);
        drop(table);
        // A request may still stand in a worker's queue, and what keeps its session awake with it:
        // that looks for the session in the table when it is dropped.
        drop(ended);
        result
    }
}

impl Table {
    pub(super) fn new(limits: Limits, load: Load) -> Self {
        Self {
            limits,
            sessions: BTreeMap::new(),
            left: BTreeMap::new(),
            drowsy: BTreeMap::new(),
            next_turn: 0,
            n_asleep: 0,
            ended: Vec::new(),
            load,
        }
    }

    /// Whether one more finds room.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        self.sessions.len() < self.limits.n_sessions || self.longest_away(now).is_some()
    }

    /// Adds a session of nobody; answers whether it found room.
    pub(super) fn open(&mut self, id: &SessionId, worker: Worker, now: Instant) -> bool {
        if self.sessions.len() >= self.limits.n_sessions {
            let Some(longest) = self.longest_away(now) else { return false };
            tracing::debug!("a session that was left alone made room for a new one");
            self.remove(&longest);
        }
        let (turn, state) = (self.next_turn(), State::Awake(worker));
        let (owner, memory) = (None, Memory::default());
        let session = Session { owner, memory, n_visits: 0, n_kept: 0, left_at: now, turn, state };
        self.sessions.insert(Arc::clone(id), session);
        self.settle(id);
        true
    }

    /// Notes that the handshake of a session is done, by whom it was made, and how.
    pub(super) fn opened(&mut self, id: &SessionId, owner: Option<Identity>, hello: Vec<u8>) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.owner = owner;
            session.memory.greet(hello);
            self.settle(id);
        }
    }

    /// Notes what a session's client says.
    pub(super) fn note(&mut self, id: &SessionId, message: &ClientJsonRpcMessage) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.memory.note(message);
        }
    }

    /// The worker of a session that is awake.
    pub(super) fn handle(&self, id: &SessionId) -> Option<LocalSessionHandle> {
        match &self.sessions.get(id)?.state {
            State::Awake(worker) => Some(worker.handle.clone()),
            State::Falling(_) | State::Asleep | State::Waking(_) => None,
        }
    }

    /// Begins a visit of `caller`, until [`Self::leave`]; answers the session's id if there is such
    /// a one of theirs.
    pub(super) fn visit(&mut self, id: &str, caller: Option<&Identity>) -> Option<SessionId> {
        let id = Arc::clone(self.sessions.get_key_value(id)?.0);
        let session = self.sessions.get_mut(&id).filter(|it| it.owner.as_ref() == caller)?;
        session.n_visits += 1;
        self.settle(&id);
        Some(id)
    }

    /// Ends a visit.
    pub(super) fn leave(&mut self, id: &SessionId, now: Instant) {
        let turn = self.next_turn();
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.n_visits = session.n_visits.saturating_sub(1);
        self.left.remove(&session.turn);
        self.drowsy.remove(&session.turn);
        (session.left_at, session.turn) = (now, turn);
        self.settle(id);
    }

    /// Keeps a session from sleep until [`Self::release`].
    pub(super) fn keep(&mut self, id: &SessionId) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.n_kept += 1;
            self.settle(id);
        }
    }

    /// Takes back one [`Self::keep`].
    pub(super) fn release(&mut self, id: &SessionId) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.n_kept = session.n_kept.saturating_sub(1);
            self.settle(id);
        }
    }

    /// What must be done before a session that is visited can be used.
    pub(super) fn stir(&mut self, id: &SessionId) -> Stir {
        let Some(session) = self.sessions.get_mut(id) else { return Stir::Gone };
        match &session.state {
            State::Awake(_) => Stir::Ready,
            State::Falling(done) | State::Waking(done) => Stir::Wait(done.clone()),
            State::Asleep => {
                let done = CancellationToken::new();
                session.state = State::Waking(done.clone());
                let (owner, memory) = (session.owner.clone(), session.memory.clone());
                self.n_asleep = self.n_asleep.saturating_sub(1);
                self.settle(id);
                Stir::Wake(Box::new(Sleeper { owner, memory, done }))
            }
        }
    }

    /// What must be waited for before a session that is visited can be ended.
    pub(super) fn unrest(&self, id: &SessionId) -> Option<CancellationToken> {
        match &self.sessions.get(id)?.state {
            State::Falling(done) | State::Waking(done) => Some(done.clone()),
            State::Awake(_) | State::Asleep => None,
        }
    }

    /// Notes that a session has a handler again. One that ended meanwhile has not.
    pub(super) fn woken(&mut self, id: &SessionId, worker: Worker) {
        let session = self.sessions.get_mut(id);
        match session.filter(|it| matches!(it.state, State::Waking(_))) {
            Some(session) => {
                session.state = State::Awake(worker);
                self.settle(id);
            }
            None => self.stop(worker),
        }
    }

    /// Notes that the handler of a session has ended, or that its client ended it: then it goes,
    /// unless it was being put to sleep.
    pub(super) fn end(&mut self, id: &SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        if let State::Falling(done) = &session.state {
            done.cancel();
            session.state = State::Asleep;
            self.n_asleep += 1;
            self.settle(id);
        } else {
            self.remove(id);
        }
    }

    /// Ends what was left alone for too long; answers when to look again.
    pub(super) fn expire(&mut self, now: Instant) -> Instant {
        while let Some((turn, id)) =
            self.left.first_key_value().map(|(at, id)| (*at, Arc::clone(id)))
        {
            let ends_at = self.sessions.get(&id).map(|it| it.left_at + self.limits.idle);
            match ends_at {
                Some(at) if at > now => return at,
                Some(_) => self.remove(&id),
                None => drop(self.left.remove(&turn)),
            }
        }
        now + self.limits.idle
    }

    fn next_turn(&mut self) -> u64 {
        self.next_turn += 1;
        self.next_turn
    }

    /// The session that was left alone longest, if that is long enough and nothing is done for it.
    fn longest_away(&self, now: Instant) -> Option<SessionId> {
        let left = self.left.values().filter_map(|it| Some((it, self.sessions.get(it)?)));
        let mut away = left.take_while(|(_, it)| it.left_at + AWAY_MIN <= now);
        away.find(|(_, it)| it.n_kept == 0).map(|(id, _)| Arc::clone(id))
    }

    fn remove(&mut self, id: &SessionId) {
        if let Entry::Occupied(place) = self.sessions.entry(Arc::clone(id)) {
            let session = place.remove();
            self.left.remove(&session.turn);
            self.drowsy.remove(&session.turn);
            match session.state {
                State::Awake(worker) => self.stop(worker),
                State::Falling(done) | State::Waking(done) => done.cancel(),
                State::Asleep => self.n_asleep = self.n_asleep.saturating_sub(1),
            }
            self.tell();
        }
    }

    /// Puts a session where it belongs after it changed, and those to sleep that are too many.
    fn settle(&mut self, id: &SessionId) {
        if let Some(session) = self.sessions.get(id) {
            place(&mut self.left, session.is_left(), session.turn, id);
            place(&mut self.drowsy, session.is_drowsy(), session.turn, id);
        }
        while self.drowsy.len() > self.limits.n_awake {
            let Some((_, id)) = self.drowsy.pop_first() else { break };
            self.put_to_sleep(&id);
        }
        self.tell();
    }

    fn put_to_sleep(&mut self, id: &SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let falling = State::Falling(CancellationToken::new());
        // Only who is awake is drowsy.
        if let State::Awake(worker) = mem::replace(&mut session.state, falling) {
            self.stop(worker);
        }
    }

    fn stop(&mut self, worker: Worker) {
        worker.stop.cancel();
        self.ended.push(worker);
    }

    fn tell(&self) {
        self.load.set_sessions(self.sessions.len() - self.n_asleep, self.n_asleep);
    }
}

impl Session {
    fn is_left(&self) -> bool {
        self.n_visits == 0 && matches!(self.state, State::Awake(_) | State::Asleep)
    }

    fn is_drowsy(&self) -> bool {
        let does_nothing = self.n_visits == 0 && self.n_kept == 0;
        does_nothing && self.memory.is_whole() && matches!(self.state, State::Awake(_))
    }
}

fn place(queue: &mut BTreeMap<u64, SessionId>, belongs: bool, turn: u64, id: &SessionId) {
    if !belongs {
        queue.remove(&turn);
    } else if let Entry::Vacant(place) = queue.entry(turn) {
        place.insert(Arc::clone(id));
    }
}
