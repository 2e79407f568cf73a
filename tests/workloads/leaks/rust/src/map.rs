//! What is known of each client, in a map by its address.
//!
//! Healthy: clients that have not been seen for a while are removed. Leaky: they are not.

use std::collections::HashMap;

use crate::{Pattern, Turn};

struct Client {
    last_seen: u64,
    agent: String,
}

#[inline(never)]
fn map_agent(address: u64) -> String {
    format!("agent of client {address:0100}") // LEAK: map_agent
}

#[inline(never)]
fn map_see(clients: &mut HashMap<u64, Box<Client>>, address: u64, now: u64) {
    let client = clients
        .entry(address)
        .or_insert_with(|| map_client(map_agent(address)));
    client.last_seen = now;
}

#[inline(never)]
fn map_client(agent: String) -> Box<Client> {
    let last_seen = 0;
    Box::new(Client { last_seen, agent }) // LEAK: map_client
}

pub fn pattern() -> Pattern {
    let mut clients = HashMap::with_capacity(100_000);
    Box::new(move |turn: &mut Turn| {
        // A new client every other tick, and one of the last hundred.
        let newest = turn.tick / 2;
        map_see(&mut clients, newest, turn.tick);
        let earlier = newest.saturating_sub(turn.random(100));
        map_see(&mut clients, earlier, turn.tick);
        if !turn.leaky && turn.tick % 500 == 0 {
            let now = turn.tick;
            clients.retain(|_, client| client.last_seen + 1_000 > now && !client.agent.is_empty());
        }
    })
}
