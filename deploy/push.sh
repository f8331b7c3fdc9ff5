#!/usr/bin/env bash
# Build the image of the commit that is checked out and push it to the stack's repository:
#     bash deploy/push.sh STACK
# Its tag is the commit. Tags there cannot be moved, so what was pushed before is left.
set -euo pipefail
cd "$(dirname "$0")/.."
stack=${1:?usage: bash deploy/push.sh STACK}

output() {
    aws cloudformation describe-stacks --stack-name "$stack" \
        --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue" --output text
}
uri=$(output RepositoryUri)
platform=linux/$(output Architecture)
tag=$(git rev-parse HEAD)

if found=$(aws ecr describe-images --repository-name "${uri#*/}" --image-ids "imageTag=$tag" 2>&1); then
    echo "$uri:$tag is there already"
    exit
elif [[ $found != *ImageNotFoundException* ]]; then
    echo "$found" >&2
    exit 1
fi
aws ecr get-login-password | docker login --username AWS --password-stdin "${uri%%/*}"
# ECR scans images and no lists of images, which a provenance beside it would make of it.
docker buildx build --target server --platform "$platform" --provenance=false --sbom=false \
    --build-arg "REVISION=$tag" --build-arg "VERSION=$tag" \
    --build-arg "SOURCE=${GITHUB_SERVER_URL:-}/${GITHUB_REPOSITORY:-unknown}" \
    --tag "$uri:$tag" --push .
echo "$uri:$tag"
