// What programs do with dockerode, against whichever daemon DOCKER_HOST names.
const assert = require('node:assert');
const { PassThrough } = require('node:stream');
const { once } = require('node:events');
const Docker = require('dockerode');
const tar = require('tar-fs');

const docker = new Docker();

/** Everything that a stream gives. */
async function all(stream) {
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces.map((piece) => Buffer.from(piece))).toString();
}

/** The two streams of a container without a terminal, apart. */
async function apart(stream) {
  const [out, err] = [new PassThrough(), new PassThrough()];
  docker.modem.demuxStream(stream, out, err);
  stream.on('end', () => { out.end(); err.end(); });
  return Promise.all([all(out), all(err)]);
}

/** Follows the progress of a build or an import to its end. */
function followed(stream) {
  return new Promise((done, failed) => {
    docker.modem.followProgress(stream, (error, output) => (error ? failed(error) : done(output)));
  });
}

async function main() {
  assert.strictEqual((await docker.ping()).toString(), 'OK');
  assert.ok((await docker.version()).ApiVersion);
  const events = await docker.getEvents({ filters: { type: ['container'] } });
  const seen = [];
  events.on('data', (piece) => {
    for (const line of piece.toString().split('\n').filter(Boolean)) seen.push(JSON.parse(line).Action);
  });

  // docker run, as the library has it.
  const output = new PassThrough();
  const text = all(output);
  const [ended, ran] = await docker.run('busybox', ['sh', '-c', 'echo hi; exit 3'], output);
  output.end();
  assert.deepStrictEqual([ended.StatusCode, await text], [3, 'hi\r\n']);
  await ran.remove();

  // Attached before it runs, and the input has an end.
  const talk = await docker.createContainer({
    Image: 'busybox', Cmd: ['sh', '-c', 'cat; echo done >&2'], OpenStdin: true, StdinOnce: true,
    AttachStdin: true, AttachStdout: true, AttachStderr: true,
  });
  const stream = await talk.attach({ stream: true, hijack: true, stdin: true, stdout: true, stderr: true });
  await talk.start();
  stream.write('typed\n');
  stream.end();
  assert.deepStrictEqual(await apart(stream), ['typed\n', 'done\n']);
  assert.strictEqual((await talk.wait()).StatusCode, 0);
  await talk.remove();

  const network = await docker.createNetwork({ Name: 'net', Labels: { a: 'b' } });
  const volume = await docker.createVolume({ Name: 'vol' });
  const box = await docker.createContainer({
    name: 'box', Image: 'busybox', Cmd: ['sh', '-c', 'mkdir /www; echo page >/www/index.html; httpd -f -p 80 -h /www'],
    Labels: { a: 'b' }, ExposedPorts: { '80/tcp': {} },
    HostConfig: {
      NetworkMode: 'net', PortBindings: { '80/tcp': [{ HostIp: '127.0.0.1', HostPort: '0' }] },
      Mounts: [{ Type: 'volume', Source: 'vol', Target: '/data' }], Memory: 64 << 20,
    },
  });
  await box.start();
  const about = await box.inspect();
  assert.ok(about.State.Running && about.HostConfig.Memory === 64 << 20);
  const port = about.NetworkSettings.Ports['80/tcp'][0].HostPort;
  let page;
  for (let turn = 0; turn < 100 && page === undefined; turn += 1) {
    page = await fetch(`http://127.0.0.1:${port}/`).then((answer) => answer.text(), () => undefined);
    if (page === undefined) await new Promise((wake) => { setTimeout(wake, 50); });
  }
  assert.strictEqual(page, 'page\n');
  const listed = await docker.listContainers({ filters: { label: ['a=b'] } });
  assert.deepStrictEqual(listed.map((one) => one.Names), [['/box']]);

  // Execs: apart, with a terminal, and their status.
  const exec = await box.exec({ Cmd: ['sh', '-c', 'echo o; echo e >&2; exit 4'], AttachStdout: true, AttachStderr: true });
  assert.deepStrictEqual(await apart(await exec.start({})), ['o\n', 'e\n']);
  assert.strictEqual((await exec.inspect()).ExitCode, 4);
  const typed = await box.exec({ Cmd: ['sh', '-c', 'read x; echo got $x'], AttachStdin: true, AttachStdout: true, Tty: true });
  const terminal = await typed.start({ hijack: true, stdin: true, Tty: true });
  await typed.resize({ w: 90, h: 30 });
  terminal.write('it\n');
  assert.match(await all(terminal), /got it\r\n/);

  // Files in and out.
  const pack = tar.pack(__dirname, { entries: ['script.js'] });
  await box.putArchive(pack, { path: '/data' });
  assert.match(await all(await box.getArchive({ path: '/data/script.js' })), /What programs do with dockerode/);
  assert.ok((await box.changes()).some((change) => change.Path === '/www'));

  const figures = await box.stats({ stream: false });
  assert.ok(figures.memory_stats.usage > 0 && figures.name === '/box');
  const live = await box.stats({ stream: true });
  await once(live, 'data');
  live.destroy();
  assert.ok((await box.top()).Titles.includes('PID'));
  await box.update({ Memory: 96 << 20, MemorySwap: -1 });
  await box.pause();
  assert.strictEqual((await box.inspect()).State.Status, 'paused');
  await box.unpause();
  await box.rename({ name: 'crate' });
  await box.restart({ t: 0 });
  await network.disconnect({ Container: 'crate' });
  await network.connect({ Container: 'crate', EndpointConfig: { Aliases: ['other'] } });
  await box.stop({ t: 0 });

  // A log that is followed ends with the container.
  const writer = await docker.createContainer({ Image: 'busybox', Cmd: ['sh', '-c', 'echo one; sleep 0.3; echo two >&2'] });
  await writer.start();
  const log = await writer.logs({ follow: true, stdout: true, stderr: true });
  assert.deepStrictEqual(await apart(log), ['one\n', 'two\n']);
  const { Id: made } = await writer.commit({ repo: 'made', tag: 'v1', changes: 'CMD ["true"]' });
  assert.strictEqual((await docker.getImage('made:v1').inspect()).Id, made);
  await writer.remove();

  // A build from a stream of ours, and an image there and back.
  const context = require('tar-stream').pack();
  context.entry({ name: 'Dockerfile' }, 'FROM busybox\nARG WHO=nobody\nRUN echo $WHO >/who\nCMD ["cat", "/who"]\n');
  context.finalize();
  const steps = await followed(await docker.buildImage(context, { t: 'built', buildargs: { WHO: 'me' }, q: false }));
  assert.ok(steps.some((step) => step.stream?.startsWith('Successfully tagged built:latest')), JSON.stringify(steps));
  const archive = await docker.getImage('built').get();
  const saved = [];
  for await (const piece of archive) saved.push(piece);
  await docker.getImage('built').remove();
  const { Readable } = require('node:stream');
  await followed(await docker.loadImage(Readable.from(saved)));
  const who = new PassThrough();
  const said = all(who);
  const [, speaker] = await docker.run('built', [], who);
  who.end();
  await speaker.remove();
  assert.strictEqual(await said, 'me\r\n');

  // Errors have the status and the words of the daemon.
  await assert.rejects(docker.getContainer('nosuch').inspect(), (error) =>
    error.statusCode === 404 && /No such container: nosuch/.test(error.message));
  await assert.rejects(docker.createContainer({ Image: 'nosuch' }), { statusCode: 404 });
  await box.start();
  await assert.rejects(box.remove(), { statusCode: 409 });
  await assert.rejects(box.start(), { statusCode: 304 });

  await box.remove({ force: true });
  await Promise.all([network.remove(), volume.remove()]);
  for (const name of ['built', 'made:v1']) await docker.getImage(name).remove();
  assert.deepStrictEqual(await docker.listContainers({ all: true }), []);
  for (const action of ['create', 'start', 'die', 'destroy', 'rename']) assert.ok(seen.includes(action), `${action}: ${seen}`);
  events.destroy();
  console.log('all is well');
}

main().catch((error) => { console.error(error); process.exit(1); });
