"""A batch: a file of requests, answered when the machine has time for them."""

import json
import time

from openai import OpenAI

client = OpenAI()

lines = [
    {
        "custom_id": f"sum-{number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": "default",
            "messages": [{"role": "user", "content": f"What is 3 + {number}?"}],
            "temperature": 0,
        },
    }
    for number in (4, 5, 6)
]
file = client.files.create(
    file=("sums.jsonl", "\n".join(json.dumps(line) for line in lines).encode()),
    purpose="batch",
)
batch = client.batches.create(
    input_file_id=file.id,
    endpoint="/v1/chat/completions",
    completion_window="24h",
)
while batch.status not in ("completed", "failed", "expired", "cancelled"):
    time.sleep(1)
    batch = client.batches.retrieve(batch.id)

for line in client.files.content(batch.output_file_id).text.splitlines():
    answer = json.loads(line)
    print(answer["custom_id"], answer["response"]["body"]["choices"][0]["message"]["content"])

client.files.delete(batch.input_file_id)
client.files.delete(batch.output_file_id)
