// Usage: node transcribe.mjs BASE_URL FILE RESPONSE_FORMAT
// Prints the SDK's answer as JSON: a string where the SDK gives a string.
import fs from "node:fs";
import OpenAI from "openai";

const [baseURL, file, response_format] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "not-needed", maxRetries: 0 });
try {
  const answer = await client.audio.transcriptions.create({
    file: fs.createReadStream(file), // sent in chunks, without a length
    model: "gpt-4o-mini-transcribe",
    response_format,
    timestamp_granularities: ["word", "segment"],
  });
  console.log(JSON.stringify({ answer }));
} catch (error) {
  console.log(
    JSON.stringify({
      error: error.constructor.name,
      status: error.status,
      code: error.code,
      param: error.param,
    }),
  );
}
