//! The threads that read what is not soon over. Reading waits for no writer (WAL), and here it
//! blocks no async thread.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    database::{Database, Use},
    snapshot::{Seen, SqliteSnapshot},
    trouble::{Trouble, closed},
};
use crate::ports::{Query, StoreError};

/// How many reads go on at once.
const N_READERS: usize = 2;

/// The reading side of an open store.
pub(super) struct Readers {
    orders: mpsc::Sender<Order>,
    threads: Vec<JoinHandle<Option<Connection>>>,
}

enum Order {
    Query(Box<dyn FnOnce(&mut Seat) + Send>),
    Close,
}

/// One thread's connection; opened anew after trouble.
struct Seat {
    database: Database,
    connection: Option<Connection>,
}

impl Readers {
    pub(super) fn start(database: &Database) -> Result<Self, StoreError> {
        let (orders, inbox) = mpsc::channel();
        // Guards the receiving end: the thread that waits for the next query holds it.
        let inbox = Arc::new(Mutex::new(inbox));
        let mut readers = Self { orders, threads: Vec::with_capacity(N_READERS) };
        for number in 1..=N_READERS {
            let connection = database.connect(Use::Read).map_err(|it| it.to_error("open"))?;
            let seat = Seat { database: database.clone(), connection: Some(connection) };
            let inbox = Arc::clone(&inbox);
            let thread = std::thread::Builder::new().name(format!("store-reader-{number}"));
            let thread = thread.spawn(move || seat.run(&inbox)).map_err(|error| {
                StoreError::Unavailable { action: "open", reason: error.to_string() }
            })?;
            readers.threads.push(thread);
        }
        Ok(readers)
    }

    /// Runs `query` on a reading thread, on one snapshot.
    pub(super) fn read(&self, query: Query) {
        // Without a thread that takes it, it is dropped, which tells whoever waits.
        self.orders.send(Order::Query(Box::new(move |seat| seat.read(query)))).ok();
    }

    /// Runs `query` on a reading thread.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, Trouble> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let orders = self.orders.clone();
        Box::pin(async move {
            let (answer, heard) = oneshot::channel();
            let order = Order::Query(Box::new(move |seat| {
                // Whoever asked may have gone.
                answer.send(seat.ask(query)).ok();
            }));
            orders.send(order).map_err(|_| closed("read"))?;
            heard.await.unwrap_or_else(|_| Err(closed("read")))
        })
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        for _ in &self.threads {
            self.orders.send(Order::Close).ok();
        }
        // Their connections are closed one after the other: of two that close at once, each takes
        // the other for one that stays, and neither folds the log into the database.
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").field("threads", &self.threads).finish_non_exhaustive()
    }
}

impl Seat {
    /// Answers until the end, and hands its connection over then.
    fn run(mut self, inbox: &Mutex<mpsc::Receiver<Order>>) -> Option<Connection> {
        loop {
            let order = inbox.lock().recv();
            match order {
                // Who asks makes the answer here. A fault in that takes no thread from the others;
                // the connection is gone with it, and another one is opened.
                Ok(Order::Query(query)) => {
                    catch_unwind(AssertUnwindSafe(|| query(&mut self))).ok();
                }
                Ok(Order::Close) | Err(_) => return self.connection,
            }
        }
    }

    fn ask<T>(
        &mut self,
        query: impl FnOnce(&Connection) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        let connection = self.take()?;
        let found = query(&connection);
        if !found.as_ref().is_err_and(Trouble::is_in_doubt) {
            self.connection = Some(connection);
        }
        found.map_err(|it| it.to_error("read"))
    }

    fn read(&mut self, query: Query) {
        let connection = match self.take() {
            Ok(connection) => connection,
            Err(error) => return query(Err(error)),
        };
        let seen = match SqliteSnapshot::take(&connection) {
            Ok(snapshot) => {
                query(Ok(&snapshot));
                snapshot.end()
            }
            Err(trouble) => {
                query(Err(trouble.to_error("read")));
                Seen::InDoubt
            }
        };
        if seen != Seen::InDoubt {
            self.connection = Some(connection);
        }
    }

    fn take(&mut self) -> Result<Connection, StoreError> {
        let opened = self.connection.take().map(Ok);
        opened.unwrap_or_else(|| self.database.connect(Use::Read).map_err(|it| it.to_error("read")))
    }
}
