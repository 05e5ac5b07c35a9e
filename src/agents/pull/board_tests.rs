//! What holds of the board, as scripts and what it answers to each line.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use serde_json::Map;
use uuid::Uuid;

use super::board::*;
use crate::model::{AgentName, Attempt, DispatchId, LeaseId, Millis, TaskId};

/// A board, and what happens to it: leases are named by numbers, times are milliseconds. A
/// heartbeat is expected every 10 ms.
struct Scene {
    board: Board<()>,
    tickets: BTreeMap<String, Ticket>,
    said: String,
}

fn lease(number: u128) -> LeaseId {
    LeaseId::new(Uuid::from_u128(number))
}

fn work(task: &str, agent: &str) -> Work {
    Work {
        dispatch_id: DispatchId::new(Uuid::nil()),
        task_id: TaskId::new(task),
        attempt: Attempt(1),
        agent: AgentName::new(agent),
        description: "do it".into(),
        input: Map::new(),
        heartbeat: Millis(10),
        deadline: Millis(1_000),
        trace: None,
    }
}

impl Scene {
    fn play(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        let id = |at: usize| lease(u128::from(number(at)));
        let board = &mut self.board;
        match words[0] {
            "offer" => {
                let ticket = board.offer(work(words[1], words[2]), ());
                self.tickets.insert(words[1].to_owned(), ticket);
                String::new()
            }
            "claim" => {
                let agents: Vec<_> = words[3..].iter().map(|it| AgentName::new(it)).collect();
                match board.claim((id(1), "w"), &agents, Millis(number(2))) {
                    Some((work, until, ())) => format!("{} until {}", work.task_id, until.0),
                    None => "nothing".to_owned(),
                }
            }
            "beat" => match board.beat(id(1), Millis(number(2))) {
                Some((work, until, ())) => format!("{} until {}", work.task_id, until.0),
                None => "lost".to_owned(),
            },
            "end" => match board.end(id(1), Ok(words[3].into()), Millis(number(2))) {
                Some((work, ())) => format!("{} ended", work.task_id),
                None => "lost".to_owned(),
            },
            "look" => {
                let ticket = self.tickets[words[1]];
                match board.look(ticket, Millis(number(2))) {
                    Standing::Leased(until) => format!("leased until {}", until.0),
                    Standing::Requeued(it) => {
                        format!("requeued, was claimed at {}", it.since.0)
                    }
                    Standing::Ended(_, Ok(output)) => format!("ended with {output}"),
                    Standing::Ended(_, Err(failure)) => {
                        format!("{}: {}", failure.code.as_str(), failure.message)
                    }
                    other @ (Standing::Waiting | Standing::Gone) => format!("{other:?}"),
                }
            }
            "withdraw" => {
                let had = board.withdraw(self.tickets[words[1]]);
                had.map_or_else(|| "nobody had it".to_owned(), |it| format!("{} had it", it.worker))
            }
            "waiting" => {
                let agents: Vec<_> = words[1..].iter().map(|it| AgentName::new(it)).collect();
                board.n_waiting(&agents).to_string()
            }
            other => panic!("{other}?"),
        }
    }
}

#[track_caller]
fn check(lines: &str, expected: &Expect) {
    let (board, tickets) = (Board::new(), BTreeMap::new());
    let mut scene = Scene { board, tickets, said: String::new() };
    for line in lines.lines().map(str::trim).filter(|it| !it.is_empty()) {
        let answer = scene.play(line);
        let arrow = if answer.is_empty() { "" } else { " -> " };
        scene.said.extend([line, arrow, answer.as_str(), "\n"]);
        scene.board.assert_consistent(&scene.said);
    }
    expected.assert_eq(&scene.said);
}

#[test]
fn who_came_first_is_served_first_and_only_to_workers_of_its_agent() {
    check(
        "offer a coder
         offer b tester
         offer c coder
         waiting
         waiting coder
         claim 1 0 tester nobody
         claim 2 0 tester
         claim 3 0
         claim 4 0 tester coder
         claim 5 0
         waiting",
        &expect![[r"
            offer a coder
            offer b tester
            offer c coder
            waiting -> 3
            waiting coder -> 2
            claim 1 0 tester nobody -> b until 20
            claim 2 0 tester -> nothing
            claim 3 0 -> a until 20
            claim 4 0 tester coder -> c until 20
            claim 5 0 -> nothing
            waiting -> 0
        "]],
    );
}

#[test]
fn heartbeats_keep_a_lease_and_its_end_ends_it() {
    check(
        "offer a coder
         look a 0
         claim 1 0
         beat 1 19
         look a 38
         end 1 38 done
         end 1 38 again
         beat 1 38
         look a 1000
         look a 1000",
        &expect![[r#"
            offer a coder
            look a 0 -> Waiting
            claim 1 0 -> a until 20
            beat 1 19 -> a until 39
            look a 38 -> leased until 39
            end 1 38 done -> a ended
            end 1 38 again -> lost
            beat 1 38 -> lost
            look a 1000 -> ended with "done"
            look a 1000 -> Gone
        "#]],
    );
}

#[test]
fn a_lease_lapses_whether_anybody_looks_or_not_and_its_holder_is_fenced() {
    check(
        "offer a coder
         offer b coder
         claim 1 0
         beat 1 20
         end 1 20 late
         look a 20
         beat 1 20
         claim 2 25
         end 1 26 late
         beat 2 26
         end 2 27 done
         look a 27
         claim 3 30",
        &expect![[r#"
            offer a coder
            offer b coder
            claim 1 0 -> a until 20
            beat 1 20 -> lost
            end 1 20 late -> lost
            look a 20 -> requeued, was claimed at 0
            beat 1 20 -> lost
            claim 2 25 -> a until 45
            end 1 26 late -> lost
            beat 2 26 -> a until 46
            end 2 27 done -> a ended
            look a 27 -> ended with "done"
            claim 3 30 -> b until 50
        "#]],
    );
}

#[test]
fn the_third_lapse_ends_the_attempt() {
    check(
        "offer a coder
         claim 1 0
         look a 20
         claim 2 20
         look a 39
         look a 40
         claim 3 40
         look a 60
         look a 60
         claim 4 60
         beat 3 60
         waiting",
        &expect![[r#"
            offer a coder
            claim 1 0 -> a until 20
            look a 20 -> requeued, was claimed at 0
            claim 2 20 -> a until 40
            look a 39 -> leased until 40
            look a 40 -> requeued, was claimed at 20
            claim 3 40 -> a until 60
            look a 60 -> interrupted: 3 workers claimed it and were not heard of again, "w" last
            look a 60 -> Gone
            claim 4 60 -> nothing
            beat 3 60 -> lost
            waiting -> 0
        "#]],
    );
}

#[test]
fn what_is_withdrawn_is_nobodys() {
    check(
        "offer a coder
         offer b coder
         claim 1 0
         withdraw a
         beat 1 1
         end 1 1 done
         look a 1
         withdraw b
         withdraw b
         claim 2 1
         offer c coder
         claim 3 1
         end 3 2 done
         withdraw c
         look c 2",
        &expect![[r"
            offer a coder
            offer b coder
            claim 1 0 -> a until 20
            withdraw a -> w had it
            beat 1 1 -> lost
            end 1 1 done -> lost
            look a 1 -> Gone
            withdraw b -> nobody had it
            withdraw b -> nobody had it
            claim 2 1 -> nothing
            offer c coder
            claim 3 1 -> c until 21
            end 3 2 done -> c ended
            withdraw c -> w had it
            look c 2 -> Gone
        "]],
    );
}
