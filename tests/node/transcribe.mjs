// Usage: node transcribe.mjs BASE_URL FILE RESPONSE_FORMAT|stream
// Prints what the SDK answers or raises, as JSON: a string where the SDK gives a
// string, a list of events for a stream.
import fs from "node:fs";
import OpenAI from "openai";

const [baseURL, file, response_format] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "not-needed", maxRetries: 0 });
const events = [];
try {
  const stream = response_format === "stream";
  const answer = await client.audio.transcriptions.create({
    file: fs.createReadStream(file), // sent in chunks, without a length
    model: "gpt-4o-mini-transcribe",
    ...(stream ? { stream } : { response_format }),
    ...(response_format === "verbose_json"
      ? { timestamp_granularities: ["word", "segment"] }
      : {}),
  });
  if (stream) for await (const event of answer) events.push(event);
  console.log(JSON.stringify(stream ? { events } : { answer }));
} catch (error) {
  console.log(
    JSON.stringify({
      error: error.constructor.name,
      message: error.message,
      status: error.status,
      code: error.code,
      param: error.param,
      ...(events.length ? { events } : {}),
    }),
  );
}
