# The page in a container: docker build -t vit-explorer . && docker run -p 127.0.0.1:7860:7860 vit-explorer
FROM python:3.11-slim

# OpenCV, which the grad-cam package asks for, needs these two.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home reader
WORKDIR /home/reader

# Requirements alone first, so that a change of the code keeps this layer.
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY . source
RUN pip install --no-cache-dir --no-deps ./source && rm -rf source

USER reader
EXPOSE 7860
HEALTHCHECK --start-period=60s CMD ["python", "-c", \
    "from urllib.request import urlopen; urlopen('http://127.0.0.1:7860/manifest.json', timeout=5)"]
# Names other than this machine's and addresses of digits need --allow-host; see docs/commands.md.
ENTRYPOINT ["vit-explorer"]
CMD ["app", "--host", "0.0.0.0"]
