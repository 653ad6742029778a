// Usage: node deepgram.mjs URL KEY FILE flux|nova|recording|address
// Prints as JSON what Deepgram's SDK was told, or raises; of a socket also how often it
// was opened, and with which code it was closed. FILE is a WAV of 16 bits, mono, 16 kHz.
import fs from "node:fs";
import { DeepgramClient } from "@deepgram/sdk";

const [url, apiKey, file, door] = process.argv.slice(2);
const socketUrl = url.replace("http", "ws");
const client = new DeepgramClient({
  apiKey,
  maxRetries: 0,
  environment: {
    base: url,
    production: socketUrl,
    agent: socketUrl,
    agentRest: url,
  },
});

// Long enough for the SDK to connect again, if it does after the close.
const RECONNECTS_WITHIN_MS = 2500;

async function talk(listen, model) {
  const socket = await listen.connect({
    model,
    encoding: "linear16",
    sample_rate: 16000,
  });
  const told = { opened: 0, code: null, messages: [] };
  const closed = new Promise((resolve) => {
    socket.on("open", () => (told.opened += 1));
    socket.on("message", (message) => told.messages.push(message));
    socket.on("error", (error) => (told.error = error.message));
    socket.on("close", (event) => resolve((told.code = event.code)));
  });
  socket.connect();
  await socket.waitForOpen();
  const audio = fs.readFileSync(file).subarray(44);
  for (let at = 0; at < audio.length; at += 3200)
    socket.sendMedia(audio.subarray(at, at + 3200));
  socket.sendCloseStream({ type: "CloseStream" });
  await closed;
  await new Promise((resolve) => setTimeout(resolve, RECONNECTS_WITHIN_MS));
  return told;
}

const media = client.listen.v1.media;
const doors = {
  flux: () => talk(client.listen.v2, "flux-general-en"),
  nova: () => talk(client.listen.v1, "nova-3"),
  recording: () => media.transcribeFile(fs.createReadStream(file), { utterances: true }),
  address: () => media.transcribeUrl({ url: "https://a.test/x.wav" }),
};
try {
  console.log(JSON.stringify({ answer: await doors[door]() }));
} catch (error) {
  console.log(
    JSON.stringify({
      error: error.constructor.name,
      status: error.statusCode,
      body: error.body,
    }),
  );
}
process.exit(0);
