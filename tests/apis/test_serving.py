"""The server of docs/serving.md, as the page has it."""

import io
import re
import sys
import threading
from http.client import HTTPConnection
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mmsam_peft.adapters.match import save_adapter
from mmsam_peft.apis import inference_model, init_model

PAGE = Path(__file__).parents[2] / 'docs' / 'serving.md'


def test_it_answers_with_what_inference_gives(build, tiny, tmp_path, monkeypatch, caplog):
    path = tmp_path / 'discs.safetensors'
    meta = dict(classes=('background', 'disc'), palette=[[0, 0, 0], [0, 255, 0]])
    save_adapter(build(trained=True), path, meta, config=tiny())
    code = re.search(r'<!-- file: serve.py -->\n```python\n(.*?)```', PAGE.read_text(), re.DOTALL)[
        1
    ]
    started = []

    def start(server):
        started.append(server)
        threading.Thread(target=ThreadingHTTPServer.serve_forever, args=(server,)).start()

    code = code.replace("('127.0.0.1', 8000)", "('127.0.0.1', 0)")
    code = code.replace('ThreadingHTTPServer(', 'start(ThreadingHTTPServer(')
    code = code.replace(', Handler).serve_forever()', ', Handler))')
    code = code.replace('AdapterBank(', f'AdapterBank(checkpoint={str(tmp_path / "base.pth")!r}, ')
    monkeypatch.setattr(sys, 'argv', ['serve.py', f'discs={path}'])
    served = {'start': start, '__name__': 'serve'}
    exec(compile(code, 'serve.py', 'exec'), served)
    try:
        pixels = np.kron(np.arange(64).reshape(8, 8) * 4, np.ones((8, 8))).astype(np.uint8)
        image = np.stack([pixels, pixels.T, 255 - pixels], -1)
        content = io.BytesIO()
        Image.fromarray(image[..., ::-1]).save(content, 'PNG')
        connection = HTTPConnection(*started[0].server_address)

        def post(place: str, body: bytes) -> tuple[int, bytes]:
            connection.request('POST', place, body)
            answer = connection.getresponse()
            return answer.status, answer.read()

        status, answer = post('/discs', content.getvalue())
        model = init_model(path, checkpoint=str(tmp_path / 'base.pth'))
        expected = inference_model(model, image).pred_sem_seg.data[0].numpy()
        mask = Image.open(io.BytesIO(answer))
        assert status == 200 and (np.asarray(mask) == expected).all() and 0 < expected.mean() < 1
        assert mask.getpalette()[3:6] == [0, 255, 0]
        assert post('/discs', b'no image')[0] == 400
        assert post('/discs', b'') == (413, b'got 0 bytes, expected 1 to 52428800')
        assert post('/../discs.safetensors', b'x')[0] == 404

        def no_memory(*_):
            raise torch.OutOfMemoryError('CUDA out of memory')

        served['inference_model'] = no_memory
        status, answer = post('/discs', content.getvalue())
        assert status == 500 and b'could not be predicted' in answer and b'CUDA' not in answer
        assert 'CUDA out of memory' in caplog.text
        served['inference_model'] = inference_model
        assert post('/discs', content.getvalue())[0] == 200
    finally:
        started[0].shutdown()
        started[0].server_close()
