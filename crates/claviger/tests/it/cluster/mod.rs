//! Three processes on one database, or each on its own member of a Galera cluster, under equal requests; a process and a
//! member are killed meanwhile.
//!
//! 600 requests per run, or 10 000 when `CLAVIGER_TEST_LONG` is set.

mod history;
mod scene;

use crate::harness::{Directory, Options, Process, Server, becomes_false, databases, galera, galera_alone, is_long};
use claviger_store::error::StoreError;
use claviger_store::leases;
use claviger_store::sql::Sql;
use scene::{GRANTS, Plan, Scene};
use std::time::{Duration, Instant};

/// Longest time until a process has heard of another one's revocation. It looks every 30 ms at least, or is
/// told; the rest is for slow machines.
const NEWS_MAX: Duration = Duration::from_secs(5);

/// How long a lock's holder may be silent: longer than a cluster stands still that has lost a member.
const PATIENCE: Duration = Duration::from_secs(15);

/// The plan of a run, for a grant that is the first of its kind here or a dearer one.
fn plan(grant: usize) -> Plan {
    let requests = match (is_long(), grant) {
        (true, 0) => 10_000,
        (true, _) => 2_000,
        (false, 0) => 600,
        (false, _) => 300,
    };
    Plan { requests, form: GRANTS[grant], kills_process: grant == 0, kills_member: false }
}

async fn run(scene: &mut Scene<'_>, plan: &Plan) {
    let what = format!("{} on {}", plan.form[0].1, scene.name);
    let history = scene.run(plan).await;
    let surprises = history.surprises(NEWS_MAX);
    assert!(
        surprises.is_empty(),
        "{what}: {} surprises, e.g. {:#?}\n{}",
        surprises.len(),
        &surprises[..surprises.len().min(5)],
        scene.said()
    );
    println!("{what}: {}", history.summary());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_on_one_database_hand_out_one_token() {
    for database in databases().await {
        if database.is_shared() {
            let mut scene = Scene::start(database.engine(), std::iter::repeat_n(&database, 3)).await;
            run(&mut scene, &plan(1)).await;
            run(&mut scene, &plan(0)).await;
            drop(scene);
        }
        database.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_on_a_galera_cluster_hand_out_one_token() {
    let Some(galera) = galera_alone().await else { return };
    let mut scene = Scene::start("Galera", galera.members.iter()).await;
    run(&mut scene, &plan(1)).await;
    run(&mut scene, &Plan { kills_member: true, ..plan(0) }).await;
    galera.wait_until_whole().await;
    scene.wait_for_service().await;
    drop(scene);
    galera.remove().await;
}

/// A member applies what the others committed a little later; nobody must see that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_has_answered_is_true_at_the_next_member() {
    const TURNS: usize = 100;
    let Some(galera) = galera().await else { return };
    let scene = Scene::start("Galera", galera.members.iter().take(2)).await;
    for turn in 0..TURNS {
        scene.check_next_sees_token(turn).await;
        scene.check_next_knows_client(turn).await;
    }
    drop(scene);
    galera.remove().await;
}

/// A member's locks are its own: only the number that each changes keeps two members' transactions from one turn. Each counts those
/// who came before it, and none counts as many as another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_is_taken_once_at_all_members() {
    static COUNT: Sql = Sql::new("SELECT COUNT(*) FROM CLV_HOLDER WHERE HOLDER = 'counted'", &[]);
    static INSERT: Sql = Sql::new("INSERT INTO CLV_HOLDER (NAME, HOLDER, BEAT) VALUES (?, 'counted', 0)", &[]);
    const ROUNDS: usize = 20;
    let Some(galera) = galera().await else { return };
    let first = Server::start(&galera.members[0], Options::default()).await;
    let second = Server::start(&galera.members[1], Options::default()).await;
    let count = async |server: &Server, name: String| {
        let write = server.app().store.write::<_, StoreError, _>(move |conn| {
            let name = name.clone();
            Box::pin(async move {
                leases::take_turn(conn, "counting").await?;
                let before = conn.row(&COUNT, &[]).await?.unwrap().int(0)?;
                conn.execute(&INSERT, &[(&name).into()]).await?;
                Ok(before)
            })
        });
        write.await.unwrap()
    };
    let mut counted = Vec::new();
    for round in 0..ROUNDS {
        let (one, other) = tokio::join!(count(&first, format!("{round} a")), count(&second, format!("{round} b")));
        counted.extend([one, other]);
    }
    counted.sort_unstable();
    assert!(counted.iter().copied().eq(0..i64::try_from(2 * ROUNDS).unwrap()), "{counted:?}");
    first.stop().await;
    second.stop().await;
    galera.remove().await;
}

/// A node that died while it prepared the database holds the lock's row for ever; nobody else may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_node_does_not_keep_the_next_from_starting() {
    let Some(galera) = galera().await else { return };
    let (directory, member) = (Directory::new(), &galera.members[1]);
    std::fs::write(directory.path().join("deployment.toml"), member.section()).unwrap();
    let first = Process::start(&directory, &["--log", "warn"]).await;
    let locks = async || {
        member.ask("SELECT CAST(COUNT(*) AS CHAR) FROM CLV_HOLDER WHERE NAME = 'start'").await.unwrap()[0][0].clone()
    };
    assert!(becomes_false(async || locks().await != "0").await, "a node that is ready holds the lock");
    first.kill();
    let insert = "INSERT INTO CLV_HOLDER (NAME, HOLDER, BEAT) VALUES ('start', 'somebody who is dead', 7)";
    galera.members[0].ask(insert).await.unwrap();
    let begun = Instant::now();
    let second = Process::start(&directory, &["--log", "warn"]).await;
    assert!(begun.elapsed() >= PATIENCE, "the lock was taken from somebody who might live: {:?}", begun.elapsed());
    assert!(becomes_false(async || locks().await != "0").await, "the lock was not given back");
    drop(second);
    galera.remove().await;
}
